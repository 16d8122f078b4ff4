"""A resumed run is the uninterrupted one, bit for bit, whatever its parts keep between two steps.

Each task has a test of its own beside its data.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Script
from tests.runs.resumed import resumes

QUICK = (
    *("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "model.encoder.hidden_size=4"),
    *("trainer.max_epochs=2", "trainer.limit_train_batches=5", "trainer.limit_val_batches=2"),
    *("trainer.limit_test_batches=1", "callbacks.pictures=null"),
)
TORCH = "~model.optimizer.fused model.optimizer._target_=torch.optim"
LINEAR = "_target_:torch.optim.lr_scheduler.LinearLR,total_iters:total_steps"
LEARN = "trainer.max_epochs=4 model.optimizer.lr=0.03"


@pytest.mark.parametrize(
    "words",
    [
        "model.dropout=0.2 model.encoder.num_layers=2 model.encoder.dropout=0.2",
        "optimizer=adam scheduler=cosine",
        "optimizer=nadam scheduler=one_cycle",
        f"optimizer=sgd scheduler=plateau model.scheduler.patience=0 {LEARN}",
        "optimizer=rmsprop scheduler=none trainer.precision=bf16-mixed",
        f"{TORCH}.Adafactor scheduler=none +model.scheduler={{{LINEAR}}}",
        f"{TORCH}.ASGD",
        f"{TORCH}.Rprop ~model.optimizer.weight_decay",
        f"callbacks=[default,early_stopping,ema,lr_monitor] {LEARN} "
        "callbacks.early_stopping.patience=1 trainer.log_every_n_steps=3",
        "trainer.val_check_interval=2 trainer.log_every_n_steps=2",
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(words: str, script: Script, tmp_path: Path) -> None:
    resumes(script, tmp_path, *QUICK, *words.split(), step=7)
