"""Which hooks of callbacks Lightning calls at each step, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, LambdaCallback, ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.profilers import SimpleProfiler

from seqmodels.batch import SequenceBatch
from seqmodels.runs.trainer import HOOKS_OF_A_STEP, Trainer

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
        for callback in (failing, derived):
            assert not {*HOOKS_OF_A_STEP} & {*vars(callback)}
            callback.on_before_backward(pl.Trainer(logger=False), module, torch.zeros(()))


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
