"""`metrics.csv`: the rows in order, whenever it is saved, resumed or killed."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as pl
import pytest

from seqmodels.callbacks.checkpoints import LastCheckpoint
from seqmodels.runs import train
from seqmodels.runs.folder import read_metrics
from seqmodels.runs.metrics_file import MetricsFile
from tests.conftest import Config


def opened(folder: Path, step: int | None = None, epoch: int = 0) -> MetricsFile:
    """The file of a run, which is resumed at a step."""
    file = MetricsFile(str(folder))
    if step is not None:
        trainer = Mock(pl.Trainer, training=False, global_step=step, current_epoch=epoch)
        file.on_train_start(trainer, Mock(pl.LightningModule))
    return file


@pytest.mark.parametrize("seed", range(3))
def test_it_is_its_rows_in_order_whenever_it_is_saved(tmp_path: Path, seed: int) -> None:
    random, file, rows, step = Random(seed), opened(tmp_path), dict[int, dict[str, float]](), 0
    for _ in range(200):
        if random.random() < 0.05:  # a resume replaces what is trained again
            file.save()
            step = random.randint(0, step + 2)
            file = opened(tmp_path, step, epoch=step // 10)
            rows = {at: row for at, row in rows.items() if at < step}
        step += random.choice((0, 0, 1, 2))
        at = step if random.random() < 0.9 else max(0, step - random.randint(0, 4))
        new = {"epoch": at // 10, random.choice("abcdef"): random.random()}
        file.log_metrics(new, step=at)
        rows.setdefault(at, {"step": at}).update(new)
        if random.random() < 0.3:
            file.save()
    file.save()
    assert read_metrics(tmp_path / "metrics.csv") == [rows[at] for at in sorted(rows)]


def test_a_kill_while_metrics_are_written_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    file, path = opened(tmp_path), tmp_path / "metrics.csv"
    for step in (1, 3):
        file.log_metrics({"epoch": 0, "a": 1.0 * step}, step=step)
    file.save()
    before = path.read_bytes()
    file.log_metrics({"epoch": 0, "b": 4.0}, step=3)
    with monkeypatch.context() as within, pytest.raises(KeyboardInterrupt):
        for name in ("os.fsync", "pathlib.Path.replace", "os.replace"):
            within.setattr(name, killed)
        file.save()
    assert path.read_bytes() == before


def test_a_checkpoint_of_an_epoch_is_never_ahead_of_its_metrics(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = LastCheckpoint.on_train_epoch_end

    def killed(*arguments: Any) -> None:  # before Lightning logs the epoch
        save(*arguments)
        raise SystemExit

    monkeypatch.setattr(LastCheckpoint, "on_train_epoch_end", killed)
    with pytest.raises(SystemExit):
        train(config())
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    row = read_metrics(tmp_path / "run" / "metrics.csv")[-1]
    assert {"train/loss", "validation/loss"} <= row.keys()
