"""A temperature for the probabilities of a classifier, which the validation split chooses."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from seqmodels import compose, load_run, train
from seqmodels.batch import SequenceBatch
from seqmodels.engine.class_task import chosen_temperature, fit_temperature
from seqmodels.errors import UserError
from seqmodels.runs.result import Result
from seqmodels.runs.verdict import Evidence, expected_calibration_error, probability_error

WORDS = ("model=classifier", "trainer=cpu", "baseline=false", "data=japanese_vowels")


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_the_temperature_is_what_the_logits_were_multiplied_by(scale: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(20_000, 4)
    targets = torch.distributions.Categorical(logits=logits).sample()
    found = fit_temperature(scale * logits, targets)
    assert found == pytest.approx(scale, rel=0.05)
    losses = [F.cross_entropy(scale * logits / (found * by), targets) for by in (0.98, 1, 1.02)]
    assert min(losses) == losses[1]


def test_one_example_has_a_temperature_within_bounds() -> None:
    found = fit_temperature(torch.tensor([[3.0, 1.0]]), torch.tensor([0]))
    assert 1 / 20 <= found < 0.15  # It is right, so the surer the better.


def rows_of_two(*margins: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets of two classes: by how much the true one's logit is higher."""
    logits = torch.tensor([[margin, 0.0] for margin in margins])
    return logits, torch.zeros(len(margins), dtype=torch.long)


@pytest.mark.parametrize("margin", [0.5, 3.0, 30.0])
def test_rows_without_a_mistake_choose_no_temperature(margin: float) -> None:
    assert chosen_temperature(*rows_of_two(*[margin] * 54, 2 * margin)) == 1.0


@pytest.mark.parametrize("margins", [[-1.0] * 40, [-1.0] * 40 + [0.9] * 10, [2.0], [-2.0]])
def test_rows_whose_likelihood_rises_up_to_the_bound_choose_no_temperature(
    margins: list[float],
) -> None:
    assert chosen_temperature(*rows_of_two(*margins)) == 1.0


def test_a_temperature_that_gains_more_than_a_standard_error_is_taken() -> None:
    rows = rows_of_two(*[1.0] * 90, *[-1.0] * 10)
    # Of equal margins the best temperature has a closed form: nine of ten rows are right.
    assert chosen_temperature(*rows) == pytest.approx(1 / np.log(9), rel=1e-3)
    # Here too, but a standard error of the gain is larger than the gain.
    assert chosen_temperature(*rows_of_two(*[1.0] * 16, *[-1.0] * 4)) == 1.0
    assert fit_temperature(*rows_of_two(*[1.0] * 16, *[-1.0] * 4)) == pytest.approx(
        1 / np.log(4), rel=1e-3
    )


@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_error_is_that_of_another_library(num_classes: int) -> None:
    torch.manual_seed(num_classes)
    probabilities = torch.randn(500, num_classes).softmax(dim=1)
    probabilities[0] = torch.eye(num_classes)[0]  # It is sure.
    targets = torch.randint(num_classes, (500,))
    expected = multiclass_calibration_error(probabilities, targets, num_classes, n_bins=15)
    is_right = (probabilities.argmax(dim=1) == targets).numpy()
    found = expected_calibration_error(probabilities.double().numpy(), is_right)
    assert found == pytest.approx(float(expected), abs=1e-6)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    result = train(compose(*WORDS, "trainer.max_epochs=4", f"folder={folder}"))
    return {**result, "folder": folder}


def raw_logits(run: Any, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of a split as they were learned, and its targets."""
    dataset = run.data.datasets[split]
    batch: SequenceBatch = dataset.__getitems__([*range(len(dataset))])
    with torch.inference_mode():
        logits = run.task.network.head(run.task.network.encode(batch))
    assert batch.targets is not None
    return logits, batch.targets


def test_all_predictions_of_a_run_have_the_temperature(calibrated: dict[str, Any]) -> None:
    run = load_run(calibrated["folder"])
    run.data.setup()
    [[temperature]] = calibrated["calibration"]
    logits, targets = raw_logits(run, "validation")
    assert temperature == pytest.approx(fit_temperature(logits, targets), rel=1e-3)

    logits, targets = raw_logits(run, "test")
    expected = (logits / temperature).softmax(dim=1).numpy()
    table = pd.read_csv(calibrated["folder"] / "predictions.csv")
    columns = [name for name in table if name.startswith("probability.")]
    np.testing.assert_allclose(table[columns], expected, atol=1e-6)
    [first] = run.predict(run.data.examples["test"].inputs[:1])
    np.testing.assert_allclose([*first["probabilities"].values()], expected[0], atol=1e-6)
    dataset = run.data.datasets["test"]
    one = dataset.__getitems__([0])
    with torch.inference_mode():
        logits_of_network = run.network(one.inputs, one.lengths)
    torch.testing.assert_close(logits_of_network, logits[:1] / temperature)
    # The loss is that of the logits as they were learned.
    loss = float(F.cross_entropy(logits, targets))
    assert calibrated["metrics"]["test/loss"] == pytest.approx(loss, rel=1e-5)


def test_a_run_says_by_how_much_its_probabilities_are_off(calibrated: dict[str, Any]) -> None:
    run = load_run(calibrated["folder"])
    run.data.setup()
    logits, targets = raw_logits(run, "test")
    [[temperature]] = calibrated["calibration"]
    before, now = (
        float(multiclass_calibration_error((logits / by).softmax(dim=1), targets, 9, n_bins=15))
        for by in (1.0, temperature)
    )
    sentence = calibrated["verdict"][-1]
    assert f"off by {now:.2%}".replace("%", " %") in sentence
    assert (
        f"by {before:.2%} without the temperature {temperature:.2f}".replace("%", " %") in sentence
    )


def test_other_weights_have_no_temperature(
    calibrated: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    run = load_run(calibrated["folder"], "last")
    assert run.task.calibration is None
    assert "last.ckpt: its intervals and probabilities are as they were learned" in caplog.text


@pytest.mark.parametrize("calibration", [[], [[0.0]], [[-1.0]], [[1.0, 2.0]], [[1.0], [2.0]]])
def test_a_calibration_that_does_not_fit_is_one_line(
    calibrated: dict[str, Any], calibration: list[list[float]], tmp_path: Path
) -> None:
    folder = copytree(calibrated["folder"], tmp_path / "run")
    file = folder / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "calibration": calibration}))
    with pytest.raises(UserError, match="do not fit this version of the code") as error:
        load_run(folder)
    assert "\n" not in str(error.value)


def test_the_temperature_is_said_where_nobody_knows_the_probabilities() -> None:
    [sentence] = probability_error(Result(seed=0, config={}), 0.527, Evidence())
    assert sentence == "Probabilities have the temperature 0.53, which the validation chose."
    tagger = Result(seed=0, config={"model": {}})
    assert not [*probability_error(tagger, None, Evidence(probabilities=np.ones((1, 1))))]


def test_a_temperature_at_its_bound_has_an_error() -> None:
    probabilities = np.array([[1.0, 0.0], [1 + 1e-9, 0.0], [0.5, 0.5]])
    result = Result(seed=0, config={})
    [sentence] = probability_error(result, 0.05, Evidence((), {1}, {}, probabilities))
    assert "are off by 50.00 %" in sentence  # two sure rows, one of them wrong; .5 and right


def test_few_rows_tell_no_temperature(tmp_path: Path) -> None:
    few = ("trainer.max_epochs=1", "data.validation_fraction=0.1", f"folder={tmp_path / 'run'}")
    result = train(compose(*WORDS, *few))  # 27 of 270
    assert "calibration" not in result
    assert "the validation split doesn't show that a temperature" in result["verdict"][-1]


def test_a_key_turns_the_temperature_off(tmp_path: Path) -> None:
    off = ("model.calibrate=false", "trainer.max_epochs=4", f"folder={tmp_path / 'run'}")
    result = train(compose(*WORDS, *off))  # `calibrated` has a temperature.
    assert "calibration" not in result
    assert not any("temperature" in sentence for sentence in result["verdict"])
