"""Callbacks that one word adds, what the trainer logs by step, what a test leaves, and which hooks
Lightning calls at each step, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, LambdaCallback, ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.profilers import SimpleProfiler
from matplotlib.figure import Figure
from sklearn.metrics import f1_score
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from seqmodels.batch import SequenceBatch
from seqmodels.callbacks.early_stopping import EarlyStopping
from seqmodels.callbacks.predictions import _rounded as rounded
from seqmodels.callbacks.progress import StepMetrics
from seqmodels.nn.outputs import Score
from seqmodels.runs import load_run, train
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.folder import read_metrics
from seqmodels.runs.trainer import HOOKS_OF_A_STEP, Trainer
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import ROOT, Config, Script, result_of
from tests.predictions import mean_loss, rows_of
from tests.runs.resumed import callback

PLAIN = ("callbacks.dataflow=null", "callbacks.pictures=null", "baseline=false")


def added(*names: str) -> str:
    return f"callbacks=[default,{','.join(names)}]"


class Recorder(Callback):
    """Keeps each step's loss, number of rows, and weights after it."""

    seen: list[tuple[float, int, dict[str, Tensor]]]

    def on_fit_start(self, *_: object) -> None:
        Recorder.seen = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, batch: Any, number: int
    ) -> None:
        weights = {name: value.clone() for name, value in task.state_dict().items()}
        Recorder.seen.append((float(outputs["loss"]), len(batch), weights))


class Operations(TorchDispatchMode):
    """Counts what is asked of the device."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_a_step_metric_is_the_mean_since_the_last_and_no_device_is_asked_between_two(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []  # the steps in which the device is
    log = StepMetrics.on_train_batch_end

    def counted(self: StepMetrics, trainer: pl.Trainer, *rest: Any) -> None:
        with Operations() as operations:
            log(self, trainer, *rest)
        asked.extend([trainer.global_step] * bool(operations.count))

    monkeypatch.setattr(StepMetrics, "on_train_batch_end", counted)
    settings = config("trainer.log_every_n_steps=5", *callback(Recorder), *PLAIN)
    train(settings)
    rows = read_metrics(Path(settings.folder) / "metrics.csv")
    logged = {int(row["step"]): row["train/loss_step"] for row in rows if "train/loss_step" in row}
    expected = {}
    for first in range(0, 25, 5):  # 28 steps in two epochs; the last three are not logged
        losses, sizes, _ = zip(*Recorder.seen[first : first + 5])
        mean = sum(loss * size for loss, size in zip(losses, sizes)) / sum(sizes)
        expected[first + 4] = mean
    assert logged == pytest.approx(expected) and asked == [5, 10, 15, 20, 25]


def test_the_average_of_the_weights_is_validated_saved_and_tested(config: Config) -> None:
    # the first epoch counts as the best, so its weights are not those at the end
    first_is_best = ("callbacks.checkpoint.mode=max", "callbacks.checkpoint.monitor=train/loss")
    own = (added("ema"), "callbacks.ema.decay=0.5", *first_is_best, *callback(Recorder), *PLAIN)
    settings = config(*own)
    metrics, folder = train(settings)["metrics"], Path(settings.folder)
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
    assert metrics["validation/loss"] == pytest.approx(first["validation/loss"])
    for split in ("validation", "test"):
        of_split = {name: value for name, value in metrics.items() if name.startswith(split)}
        assert load_run(folder).evaluate(split, accelerator="cpu") == pytest.approx(of_split)


def test_early_stopping_knows_which_direction_is_better_and_stays_stopped(config: Config) -> None:
    stopping = (added("early_stopping"), "callbacks.early_stopping.monitor=validation/accuracy")
    never_better = ("callbacks.early_stopping.patience=2", "callbacks.early_stopping.min_delta=1.0")
    settings = config(*stopping, *never_better, *PLAIN, "trainer.log_every_n_steps=0")
    resume, patience = config(f"resume={settings.folder}"), "callbacks.early_stopping.patience=3"
    for epochs, words, trained in ((9, [], 3), (10, [], 3), (11, [patience], 4)):
        settings.trainer.max_epochs = epochs
        train(settings if epochs == 9 else resume, [f"trainer.max_epochs={epochs}", *words])
        rows = read_metrics(Path(settings.folder) / "metrics.csv")
        assert [row["epoch"] for row in rows] == [*range(trained)]
    modes = [EarlyStopping(f"validation/{name}", 1).mode for name in ("accuracy", "loss")]
    assert modes == ["max", "min"]


def test_summary_learning_rate_and_profile_are_there_by_a_word(
    script: Script, tmp_path: Path
) -> None:
    words = ("debug=profile", "+callbacks=[model_summary,lr_monitor]", *PLAIN, "trainer=cpu")
    done = script("train.py", *words, "trainer.log_every_n_steps=5", "folder=run")
    assert "encoder.rnn" in done.stdout and "Trainable params" in done.stdout
    assert "Profiler Report" in done.stdout and "run_training_batch" in done.stdout
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.csv") if "lr-AdamW" in row]
    assert [int(row["step"]) for row in rows] == [4, 9, 14, 19, 24]


# ---------------------------------------------------------------- what a test leaves


class Drawn(SequenceClassifier):
    """Shows how many rows it was tested on, and a picture of theirs."""

    def pictures(self, dataset: Any, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        shown = self.some_of(dataset, 3).rows.tolist()
        return {"rows.html": f"{shown} of {int(sums['weight'])}", "rows.png": Figure()}


def test_pictures_and_predictions_of_a_test_are_there_unless_null(
    config: Config, tmp_path: Path
) -> None:
    words = (f"model._target_={__name__}.Drawn", "allowed_targets=[tests.]", "baseline=false")
    folder, without = tmp_path / "run", tmp_path / "without"
    train(config(*words, "callbacks.dataflow=null", "trainer.max_epochs=1"))
    assert (folder / "figures" / "rows.html").read_text() == "[0, 184, 369] of 370"
    assert (folder / "figures" / "rows.png").is_file() and (folder / "predictions.csv").is_file()
    off = ("callbacks.predictions=null", "trainer.max_steps=1", f"folder={without}")
    train(config(*words, *PLAIN, *off))
    assert [file.name for file in (without / "figures").iterdir()] == ["learning_curves.png"]
    assert not [*without.glob("*predictions*")]


@pytest.mark.parametrize("value", [123456.789, -123456.789, 12345678.25, -12345678.25])
def test_large_numbers_keep_the_digits_of_64_bits(value: float) -> None:
    assert rounded(value) == value
    assert rounded([[value]]) == [[value]]


@pytest.mark.usefixtures("examples_importable")
def test_a_target_of_ones_own_is_scored_again_from_its_rows(script: Script, tmp_path: Path) -> None:
    words = ("model=labels", "data=headlines", "trainer.max_epochs=1", "trainer=cpu")
    folder = ROOT / "examples" / "labels" / "configs"
    script("train.py", "--config-dir", str(folder), *words, "baseline=false", "folder=run")
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    metrics = result_of(tmp_path / "run")["metrics"]
    assert len(rows) == 500 and isinstance(rows[0]["input"], str)
    names = ("money", "sport", "weather")
    made = [[row[f"prediction.{name}"] > 0.5 for name in names] for row in rows]
    targets = [[value > 0.5 for value in row["target"]] for row in rows]
    assert f1_score(targets, made, average="macro") == pytest.approx(metrics["test/f1"], abs=1e-6)
    assert mean_loss(rows, [1] * len(rows)) == pytest.approx(metrics["test/loss"], abs=1e-6)


def test_a_test_that_fails_leaves_the_older_file_and_nothing_else(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(*PLAIN, "trainer.max_epochs=1", "data.batch_size=50")
    train(settings)
    folder, outcomes = Path(settings.folder), SequenceClassifier.outcomes
    before = (folder / "predictions.csv").read_bytes()

    def failing(task: SequenceClassifier, batch: Any, score: Score) -> list[dict[str, Any]]:
        if 300 in batch.rows:
            raise RuntimeError("the power went out")
        return outcomes(task, batch, score)

    monkeypatch.setattr(SequenceClassifier, "outcomes", failing)
    settings.resume = str(folder)
    with pytest.raises(RuntimeError, match="power"):
        train(settings, ["trainer.max_epochs=2"])
    assert (folder / "predictions.csv").read_bytes() == before
    assert [file.name for file in folder.glob("*predictions*")] == ["predictions.csv"]


# ---------------------------------------------------------------- hooks


calls: list[str] = []


class First(Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        calls.append("first")


class Derived(First):
    """It inherits a hook of a step, and defines another."""

    def on_before_optimizer_step(self, *_: Any) -> None:
        calls.append("derived before the step")

    def on_exception(self, *_: Any) -> None:
        calls.append("derived ends")

    def state_dict(self) -> dict[str, Any]:
        return {"calls": len(calls)}


class Failing(Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        raise RuntimeError("of a step")


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


def trainer_with(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    usual = {"max_steps": 1, "logger": False, "enable_progress_bar": False}
    usual |= {"enable_model_summary": False, "accelerator": "cpu", "log_every_n_steps": 0}
    usual |= {"limit_val_batches": 1, "default_root_dir": folder}
    return Trainer(callbacks=[*callbacks], **usual | options)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
class TestHooks:
    def test_only_those_that_a_callback_defines_are_called_at_a_step(self, tmp_path: Path) -> None:
        profiler = SimpleProfiler()
        trainer = trainer_with(tmp_path, Derived(), Callback(), profiler=profiler)
        trainer.fit(BoringModel())
        defined = {
            f"[Callback]{callback.state_key}.{name}"
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            for name in HOOKS_OF_A_STEP
            if getattr(type(callback), name) is not getattr(Callback, name)
        }
        measured = {action for action in profiler.recorded_durations if "[Callback]" in action}
        assert {a for a in measured if a.rpartition(".")[2] in HOOKS_OF_A_STEP} == defined
        assert any(action.endswith("Derived.on_train_batch_end") for action in defined)

    def test_yours_are_called_in_their_order_also_those_of_an_object_alone(
        self, tmp_path: Path
    ) -> None:
        given = LambdaCallback(on_train_batch_end=lambda *_: calls.append("lambda"))
        trainer = trainer_with(tmp_path, First(), given, Derived())
        trainer.fit(BoringModel())
        assert calls == ["derived before the step", "first", "lambda", "first"]
        kinds = [type(each) for each in trainer.callbacks]  # type: ignore[attr-defined]
        assert kinds.index(First) < kinds.index(LambdaCallback) < kinds.index(Derived)
        assert isinstance(trainer.checkpoint_callback, ModelCheckpoint)

    def test_a_checkpoint_holds_their_states(self, tmp_path: Path) -> None:
        trainer = trainer_with(tmp_path, Derived())
        trainer.fit(BoringModel())
        trainer.save_checkpoint(tmp_path / "own.ckpt")
        saved = torch.load(tmp_path / "own.ckpt", weights_only=True)
        assert saved["callbacks"]["Derived"] == {"calls": 2}

    def test_after_a_training_and_after_an_error_all_can_be_called_again(
        self, tmp_path: Path
    ) -> None:
        failing, derived = Failing(), Derived()
        with pytest.raises(RuntimeError, match="of a step"):
            trainer_with(tmp_path, derived, failing).fit(BoringModel())
        assert calls == ["derived before the step", "first", "derived ends"]
        module = pl.LightningModule()
        for hook_owner in (failing, derived):
            assert not {*HOOKS_OF_A_STEP} & {*vars(hook_owner)}
            hook_owner.on_before_backward(pl.Trainer(logger=False), module, torch.zeros(()))


@pytest.mark.parametrize(("precision", "converts"), [("32-true", False), ("64-true", True)])
def test_a_batch_is_copied_only_for_a_precision_that_changes_it(
    tmp_path: Path, precision: str, converts: bool
) -> None:
    trainer = trainer_with(tmp_path, precision=precision)
    inputs = torch.zeros(2, 3, 1)
    batch = SequenceBatch(inputs, torch.tensor([3, 2]))
    converted = trainer.strategy.precision_plugin.convert_input(batch)
    assert (converted is not batch) == converts
    assert converted.inputs.dtype == (torch.float64 if converts else torch.float32)
