"""Callbacks that one word adds, and what the trainer logs by step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from seqmodels.callbacks.step_metrics import StepMetrics
from seqmodels.callbacks.weight_averages import EMA
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.metrics_file import read_metrics
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config, Script
from tests.runs.resumed import resumes

PLAIN = (
    "callbacks.dataflow=null",
    "callbacks.pictures=null",
    "baseline=false",
    "trainer.limit_test_batches=2",
)


class Recorder(Callback):
    """Keeps each step's loss, number of rows, and weights after it."""

    seen: list[tuple[float, int, dict[str, Tensor]]]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        Recorder.seen = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, batch: Any, number: int
    ) -> None:
        weights = {name: value.clone() for name, value in task.state_dict().items()}
        Recorder.seen.append((float(outputs["loss"]), len(batch), weights))


RECORD = (
    f"+callbacks.record={{_target_:{Recorder.__module__}.Recorder}}",
    f"allowed_targets=[{Recorder.__module__}.Recorder]",
)


class Drawn(SequenceClassifier):
    """Shows how many rows it was tested on, and a picture of theirs."""

    def pictures(self, dataset: Any, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        shown = self.some_of(dataset, 3).rows.tolist()
        return {"rows.html": f"{shown} of {int(sums['weight'])}", "rows.png": Figure()}


@pytest.mark.parametrize("pictures", [True, False])
def test_what_a_task_draws_of_its_test_is_in_its_folder(config: Config, pictures: bool) -> None:
    own, off = f"{Drawn.__module__}.Drawn", () if pictures else ("callbacks.pictures=null",)
    words = (f"model._target_={own}", f"allowed_targets=[{own}]", "callbacks.dataflow=null")
    settings = config(*words, "baseline=false", "trainer.max_epochs=1", *off)
    train(settings)
    figures = Path(settings.folder, "figures")
    drawn = {"rows.html", "rows.png"} if pictures else set[str]()
    assert {file.name for file in figures.iterdir()} == {"learning_curves.png", *drawn}
    if pictures:
        assert (figures / "rows.html").read_text() == "[0, 184, 369] of 370"


def added(*names: str) -> str:
    return f"callbacks=[default,{','.join(names)}]"


def test_a_step_metric_is_the_mean_over_the_targets_of_the_steps_since_the_last(
    config: Config,
) -> None:
    settings = config("trainer.log_every_n_steps=5", *RECORD, *PLAIN)
    train(settings)
    rows = read_metrics(Path(settings.folder) / "metrics.csv")
    logged = {int(row["step"]): row["train/loss_step"] for row in rows if "train/loss_step" in row}
    expected = {}
    for first in range(0, 25, 5):  # 28 steps in two epochs; the last three are not logged
        losses, sizes, _ = zip(*Recorder.seen[first : first + 5])
        mean = sum(loss * size for loss, size in zip(losses, sizes)) / sum(sizes)
        expected[first + 4] = mean
    assert logged == pytest.approx(expected)


class Operations(TorchDispatchMode):
    """Counts what is asked of the device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_between_two_logs_nothing_is_asked_of_the_device(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: dict[int, int] = {}
    log = StepMetrics.on_train_batch_end

    def counted(self: StepMetrics, trainer: pl.Trainer, *rest: Any) -> None:
        with Operations() as operations:
            log(self, trainer, *rest)
        counts[trainer.global_step] = len(operations.names)

    monkeypatch.setattr(StepMetrics, "on_train_batch_end", counted)
    train(config("trainer.log_every_n_steps=10", *PLAIN))
    assert [step for step, count in counts.items() if count] == [10, 20]
    assert len(counts) == 28


def test_the_average_of_the_weights_is_validated_saved_and_tested(config: Config) -> None:
    # the first epoch counts as the best, so its weights are not those at the end
    first_is_best = ("callbacks.checkpoint.mode=max", "callbacks.checkpoint.monitor=train/loss")
    settings = config(added("ema"), "callbacks.ema.decay=0.5", *first_is_best, *RECORD, *PLAIN)
    result = train(settings)
    folder = Path(settings.folder)
    weights = [seen for _, _, seen in Recorder.seen]
    for file, steps in (("best", 14), ("last", 28)):
        saved = read_checkpoint(folder / "checkpoints" / f"{file}.ckpt")["state_dict"]
        for key, value in saved.items():
            after = torch.stack([each[key] for each in weights[:steps]]).double()
            expected = after[0]
            for count, each in enumerate(after[1:], start=1):
                decay = min(0.5, (1 + count) / (10 + count))
                expected = decay * expected + (1 - decay) * each
            torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)
    first = read_metrics(folder / "metrics.csv")[0]
    assert result["metrics"]["validation/loss"] == pytest.approx(first["validation/loss"])
    validated = {k: v for k, v in result["metrics"].items() if k.startswith("validation/")}
    assert load_run(folder).evaluate("validation", accelerator="cpu") == pytest.approx(validated)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
def test_a_validation_after_the_training_is_of_the_weights_that_are_loaded() -> None:
    seen = []

    class Validated(BoringModel):
        def validation_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
            seen.append(self.layer.weight.detach().clone())
            return super().validation_step(batch, batch_idx)

    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    options |= {"enable_progress_bar": False, "num_sanity_val_steps": 0, "limit_val_batches": 1}
    trainer = pl.Trainer(accelerator="cpu", max_steps=3, callbacks=[EMA()], **options)
    trainer.fit(model := Validated())
    best = torch.ones_like(model.layer.weight)
    model.layer.weight.data.copy_(best)
    trainer.validate(model, verbose=False)
    assert torch.equal(seen[-1], best) and torch.equal(model.layer.weight, best)


def test_a_resumed_run_has_them_and_is_the_uninterrupted_one(
    script: Script, tmp_path: Path
) -> None:
    words = (added("early_stopping", "ema", "lr_monitor"), "callbacks.early_stopping.patience=1")
    own = ("trainer=cpu", "trainer.max_epochs=4", "model.encoder.hidden_size=12", *words, *PLAIN)
    own = (*own, "trainer.log_every_n_steps=5", "model.optimizer.lr=0.03")
    done = resumes(script, tmp_path, *own)
    assert done.stderr.count("not taken") == 1  # the signal


def test_early_stopping_knows_which_direction_is_better_and_stays_stopped(config: Config) -> None:
    stopping = (added("early_stopping"), "callbacks.early_stopping.monitor=validation/accuracy")
    never_better = ("callbacks.early_stopping.patience=2", "callbacks.early_stopping.min_delta=1.0")
    own = (*stopping, *never_better, *PLAIN, "trainer.log_every_n_steps=0")
    settings = config(*own, "trainer.max_epochs=9")
    train(settings)
    file = Path(settings.folder) / "metrics.csv"
    assert [row["epoch"] for row in read_metrics(file)] == [0, 1, 2]
    resume = config(f"resume={settings.folder}")
    train(resume, ["trainer.max_epochs=10"])
    assert [row["epoch"] for row in read_metrics(file)] == [0, 1, 2]
    train(resume, ["trainer.max_epochs=11", "callbacks.early_stopping.patience=3"])
    assert [row["epoch"] for row in read_metrics(file)] == [0, 1, 2, 3]
    wrong = ("callbacks.early_stopping.monitor=validation/f1", f"folder={settings.folder}_other")
    with pytest.raises(
        UserError, match="^callbacks.early_stopping: Early .* `validation/f1` which is not"
    ):
        train(config(added("early_stopping"), *wrong))


def test_summary_learning_rate_and_profile_are_there_by_a_word(
    script: Script, tmp_path: Path
) -> None:
    words = ("debug=profile", "+callbacks=[model_summary,lr_monitor]", *PLAIN)
    own = ("trainer=cpu", "trainer.log_every_n_steps=5", "hydra.run.dir=run")
    done = script("train.py", *words, *own)
    assert "encoder.rnn" in done.stdout and "Trainable params" in done.stdout
    assert "Profiler Report" in done.stdout and "run_training_batch" in done.stdout
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.csv") if "lr-AdamW" in row]
    assert [(row["epoch"], row["step"]) for row in rows] == [
        (0, 4),
        (0, 9),
        (1, 14),
        (1, 19),
        (1, 24),
    ]
