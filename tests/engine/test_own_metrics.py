"""`model.metrics`: metrics that a configuration adds to those of a task."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score

from seqmodels.batch import SequenceBatch
from seqmodels.engine.own_metrics import build_metrics
from seqmodels.engine.value_task import known_values
from seqmodels.errors import UserError
from seqmodels.metrics import METRICS, more_is_better
from seqmodels.runs import load_run, prepare, train
from seqmodels.runs.folder import read_metrics
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config
from tests.shipped import exported

AUROC = "{auroc:{_target_:torchmetrics.AUROC,task:multiclass,num_classes:9}}"
CLASSES = {"inputs": "tokens", "num_inputs": 11, "classes": ["a", "b", "c"]}
QUICK = ("baseline=false", "callbacks.dataflow=null", "callbacks.pictures=null")


@pytest.fixture(autouse=True)
def directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds to `METRICS` is gone after it."""
    known = copy.copy(METRICS)
    yield
    METRICS.clear()
    METRICS.update(known)


def test_a_metric_is_one_word_and_chooses_the_checkpoint(config: Config, tmp_path: Path) -> None:
    monitored = "callbacks.checkpoint.monitor=validation/auroc"
    result = train(config(f"model.metrics={AUROC}", monitored, *QUICK))
    assert result["higher_is_better"]["auroc"]
    run = load_run(tmp_path / "run")
    run.data.setup()
    scores, labels = [], []
    for batch in run.data.split_loader("test"):
        scores.append(run.task(batch).softmax(dim=-1).detach())
        labels.append(batch.targets)
    expected = roc_auc_score(torch.cat(labels), torch.cat(scores), multi_class="ovr")
    assert result["metrics"]["test/auroc"] == pytest.approx(expected, abs=1e-5)
    assert run.evaluate()["test/auroc"] == pytest.approx(expected, abs=1e-5)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    found = [row["validation/auroc"] for row in rows if "validation/auroc" in row]
    assert len(found) == 2 and result["metrics"]["validation/auroc"] == max(found)
    resumed = train(config(f"resume={tmp_path / 'run'}"), ["trainer.max_epochs=3"])
    assert math.isfinite(resumed["metrics"]["test/auroc"])


def test_the_batches_of_a_sanity_check_are_not_counted(config: Config, tmp_path: Path) -> None:
    again = "{again:{_target_:torchmetrics.Accuracy,task:multiclass,num_classes:9}}"
    train(config(f"model.metrics={again}", "trainer.num_sanity_val_steps=2", *QUICK))
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    found = [row for row in rows if "validation/again" in row]
    assert len(found) == 2
    for row in found:
        assert row["validation/again"] == pytest.approx(row["validation/accuracy"], abs=1e-6)


CLASSES_9 = "task:multiclass,num_classes:9"


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("a:{_target_:torchmetrics.AUROK}", "a._target_=torchmetrics.AUROK cannot be found"),
        ("a:{_target_:torchmetrics.AUROC,task:multiclass,classes:9}", "num_classes"),
        ("b:{_target_:torchmetrics.text.Perplexity}", "Perplexity is not allowed"),
        (f"accuracy:{{_target_:torchmetrics.Accuracy,{CLASSES_9}}}", "measures accuracy already"),
        (f"a:{{_target_:torchmetrics.AUROC,{CLASSES_9},average:null}}", "gives several numbers"),
        (f"mae:{{_target_:torchmetrics.Accuracy,{CLASSES_9}}}", "mae has another direction"),
    ],
)
def test_what_is_wrong_is_said_before_the_training(
    metric: str, message: str, config: Config
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        prepare(config(f"model.metrics={{{metric}}}", *QUICK))


def test_a_batch_that_is_tried_before_the_training_does_not_count(config: Config) -> None:
    metric = f"{{c:{{_target_:torchmetrics.CalibrationError,{CLASSES_9}}}}}"
    task = prepare(config(f"model.metrics={metric}", *QUICK)).task
    assert not task.sums["validation"].totals and task.training


def test_a_direction_may_be_told() -> None:
    entry = {"_target_": "torchmetrics.KLDivergence", "higher_is_better": False}
    build_metrics({"divergence": entry})
    assert not more_is_better("validation/divergence")
    build_metrics({"pearson": {"_target_": "torchmetrics.PearsonCorrCoef"}})  # known by its name
    assert more_is_better("pearson")


def test_probabilities_are_of_known_targets_and_padding_is_left_out() -> None:
    metrics = {"auroc": {"_target_": "torchmetrics.AUROC", "task": "multiclass", "num_classes": 3}}
    inputs, lengths = torch.randint(11, (2, 5)), torch.tensor([5, 3])
    tagger = exported("Tagger")(CLASSES, {"hidden_size": 4}, metrics=metrics).eval()
    classifier = SequenceClassifier(CLASSES, {"hidden_size": 4}, metrics=metrics).eval()
    tags = torch.tensor([[0, 1, 2, -1, 0], [1, 1, 2, -100, -100]])
    for task, targets in ((tagger, tags), (classifier, torch.tensor([2, -1]))):
        batch = SequenceBatch(inputs, lengths, targets)
        task.split = "test"
        scores, known = task.step(batch).measured
        torch.testing.assert_close(scores, task(batch)[targets >= 0].softmax(dim=-1))
        assert known.tolist() == targets[targets >= 0].tolist()
        task.split = "train"
        assert task.step(batch).measured is None


def test_values_are_decisions_in_rows_that_are_known() -> None:
    predicted = torch.randn(2, 3, 2, 3)  # rows, steps, values, quantiles
    targets = torch.randn(2, 3, 2)
    targets[1, 2, 0] = math.nan
    decided, known = known_values(predicted, targets, [0.1, 0.5, 0.9])
    assert torch.equal(known, targets.flatten(0, 1)[:5])
    assert torch.equal(decided, predicted[..., 1].flatten(0, 1)[:5])
