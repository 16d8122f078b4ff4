"""Run a script inside the test's own process, and leave no trace of it."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO
from unittest.mock import patch

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

# what this machine is set to must not change what the tests see
LOCAL = Path(__file__).parents[1] / "configs" / "local" / "default.yaml"
WITHOUT_LOCAL = ("~local",) if LOCAL.is_file() else ()

EXAMPLES = Path(__file__).parents[1] / "examples"

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]  # of Windows, two
HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def run_in_process(
    script: Path, arguments: Sequence[str], folder: Path, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a script as `python <script> <arguments>` would in `folder`, without a new process."""
    from lightning.pytorch.utilities.seed import isolate_rng  # not above: slow

    command = [str(script), *arguments, *(WITHOUT_LOCAL if script.name == "train.py" else ())]
    streams = {"stdin": _text(stdin), "stdout": _text(), "stderr": _text()}
    code: object = None
    with (
        contextlib.chdir(folder),
        patch.dict(os.environ, COLUMNS="120"),
        patch.multiple(sys, argv=command, path=[*sys.path], **streams),
        _warnings_of_a_new_process(),
        _logging(),
        _signals(),
        _hydra(),
        own_modules(folder, EXAMPLES),
        isolate_rng(),
        _torch_flags(),
    ):
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            code = end.code
        except Exception:  # noqa: BLE001 (the interpreter would print it and exit)
            traceback.print_exc()
            code = 1
    assert code is None or isinstance(code, int), code
    for stream in streams.values():
        stream.seek(0)
    output, errors = (streams[name].read() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(command, code or 0, output, errors)


def _text(content: str = "") -> TextIO:
    # with a buffer and an encoding, as the real streams have
    return io.TextIOWrapper(io.BytesIO(content.encode()), encoding="utf-8", write_through=True)


@contextmanager
def _warnings_of_a_new_process() -> Iterator[None]:
    """Show warnings on stderr and hide those that Python hides, instead of raising all of them."""

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        sys.stderr.write(f"{category.__name__}: {message}\n")

    with warnings.catch_warnings():
        warnings.resetwarnings()
        for hidden in HIDDEN:
            warnings.simplefilter("ignore", hidden)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


@contextmanager
def _logging() -> Iterator[None]:
    def state() -> dict[logging.Logger, dict[str, Any]]:
        named = logging.root.manager.loggerDict.values()
        loggers = [logging.root, *(each for each in named if isinstance(each, logging.Logger))]
        return {each: {**vars(each), "handlers": [*each.handlers]} for each in loggers}

    before = state()
    try:
        yield
    finally:
        for logger, now in state().items():
            usual = {"level": 0, "handlers": [], "propagate": True, "disabled": False}
            earlier = before.get(logger, usual)
            for handler in {*now["handlers"]} - {*earlier["handlers"]}:
                handler.close()
            if now["level"] != earlier["level"]:  # because it clears a cache of every logger
                logger.setLevel(earlier["level"])
            vars(logger).update({name: earlier[name] for name in usual})


@contextmanager
def _signals() -> Iterator[None]:
    # other libraries leave handlers behind, such as that of an event loop
    usual = dict.fromkeys(SIGNALS, signal.SIG_DFL)
    usual[signal.SIGINT] = signal.default_int_handler  # type: ignore[assignment]
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _hydra() -> Iterator[None]:
    with (
        patch.object(GlobalHydra.instance(), "hydra", None),
        patch.object(HydraConfig.instance(), "cfg", None),
        # it composes the whole configuration to see whether it sets `hydra.mode`: none here does
        patch.object(Hydra, "get_mode", return_value=None),
    ):
        yield


@contextmanager
def own_modules(*folders: Path) -> Iterator[None]:
    """Forgets afterwards the modules that lie in these folders, what was added to the path, and all
    heads and cells that are not ours: imported again, they are registered again."""
    import seqmodels.tasks  # noqa: F401 (registers ours; above, pytest does not check types yet)
    from seqmodels.heads import HEADS
    from seqmodels.nn.cell import CELLS
    from seqmodels.plugins import project_modules

    modules, path = {*sys.modules}, [*sys.path]
    importlib.invalidate_caches()  # the test may have written modules a moment ago
    project_modules.cache_clear()
    try:
        with patch.dict(HEADS), patch.dict(CELLS):
            yield
    finally:
        sys.path[:] = path
        project_modules.cache_clear()
        added = {name: sys.modules[name] for name in sys.modules.keys() - modules}
        # first all that lie there, because a folder in a folder asks for the one around it
        for name in [n for n, m in added.items() if any(_lies_in(m, each) for each in folders)]:
            del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    spec = getattr(module, "__spec__", None)
    places = [spec.origin, *(spec.submodule_search_locations or [])] if spec else []
    return any(place and Path(place).is_relative_to(folder) for place in places)


@contextmanager
def _torch_flags() -> Iterator[None]:
    """What Lightning's Trainer sets, and what our commands do."""
    import torch

    cudnn, benchmark = torch.backends.cudnn, torch.backends.cudnn.benchmark
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    try:
        yield
    finally:
        cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)
