"""Run one job of a sweep."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from seqmodels.errors import UserError, one_line
from seqmodels.launch.checks import check_settings
from seqmodels.launch.plan import NO_SETTING
from seqmodels.plain_values import flattened
from seqmodels.runs.folder import SETTLED, RunFolder
from seqmodels.runs.lock import check_unlocked
from seqmodels.screen import logging_to

PARENT = "SEQMODELS_SWEEP"  # in the environment of workers: the process of their sweep
GRACE = 60.0  # seconds in which a job can save its state when its sweep is gone


def run_job(config: DictConfig, overrides: Sequence[str], callbacks: Sequence[Any] = ()) -> None:
    """Train one job of a sweep, resume it if it was interrupted, or skip it if it is completed.

    Everything it prints, warnings included, goes to its `train.log`. An error ends this job only,
    and is recorded in its `result.json`; a signal ends the sweep.

    Args:
        callbacks: as `train` takes them.

    Raises:
        UserError: if the folder holds a completed run with another configuration.
        Pruned: if one of the callbacks does.
    """
    for handler in list(logging.getLogger().handlers):  # the log has the warnings already
        if type(handler) is logging.StreamHandler:
            logging.getLogger().removeHandler(handler)
    os.chdir(HydraConfig.get().runtime.cwd)  # a cluster's workers start in a folder of their own
    folder = RunFolder(Path(config.folder))
    status = folder.result_if_any().get("status")
    if status in ("completed", "pruned", "interrupted"):
        own, now = _setting(folder.read_config(beginning=True)), _setting(_plain(config))
        if now.get(SETTLED) == "auto":
            now[SETTLED] = own.get(SETTLED)
        if now != own:
            raise UserError(
                f"{folder.path} holds a run with another configuration: choose another sweep folder"
            )
        if status != "interrupted":
            return
    check_unlocked(folder.lock, "is training")
    if status == "interrupted":
        config = OmegaConf.merge(config, {"resume": str(folder.path)})  # type: ignore[assignment]
        overrides = ()  # the folder has them, perhaps changed by a resume since
    else:
        folder.clear()
    log_file = folder.log_file
    try:
        with (
            _ending_with_sweep(),
            logging_to(log_file),
            log_file.open("a") as log,
            redirect_stdout(log),
            redirect_stderr(log),
        ):
            _train(config, overrides, folder, callbacks)
    except SystemExit as end:  # by a signal, 128 + its number
        signum = int(end.code or 0) - 128
        receiver: Any = signal.getsignal(signum)
        # in a launcher's worker the sweep has none, and none any more if it has been called; then
        # it may be another library's
        if getattr(receiver, "ends_sweep", False):
            receiver(signum, None)
        raise


@contextmanager
def _ending_with_sweep() -> Iterator[None]:
    """Within: in a worker, if the process of the sweep is killed, this one ends too, as by SIGTERM.

    A launcher's worker would wait for its next job for ever.
    """
    parent, ended = os.getppid(), threading.Event()
    if os.environ.get(PARENT) != str(parent):  # the sweep's own process, or another machine's
        yield
        return

    def watch() -> None:
        while os.getppid() == parent:
            if ended.wait(0.5):
                return
        os.kill(os.getpid(), signal.SIGTERM)
        ended.wait(GRACE)
        time.sleep(1.0)  # for what is written at the end
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _train(
    config: DictConfig,
    overrides: Sequence[str],
    folder: RunFolder,
    callbacks: Sequence[Any],
) -> None:
    from seqmodels.runs import train

    try:
        check_settings(config, overrides, "train")
        train(config, overrides, callbacks)
    except Exception as error:  # noqa: BLE001 (any error of one job must not stop the others)
        folder.path.mkdir(parents=True, exist_ok=True)
        if folder.result_if_any().get("status") != "failed":  # it failed before the run began
            folder.write_result(
                {
                    "status": "failed",
                    "error": one_line(error),
                    "head": str(config.model.head),
                    "seed": config.seed if isinstance(config.seed, int) else -1,
                    "config": _plain(config),
                    "metrics": {},
                }
            )


def _plain(config: DictConfig) -> Any:
    return OmegaConf.to_container(config, resolve=True)


def _setting(config: Mapping[str, Any]) -> dict[str, Any]:
    return flattened({key: value for key, value in config.items() if key not in NO_SETTING})
