"""Run a script inside the test's own process, and leave no trace of it."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import random
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
from typing import TextIO
from unittest.mock import patch

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

# what this machine is set to must not change what the tests see
LOCAL = Path(__file__).parents[1] / "configs" / "local" / "default.yaml"
WITHOUT_LOCAL = ("~local",) if LOCAL.is_file() else ()

EXAMPLES = Path(__file__).parents[1] / "examples"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def run_in_process(
    script: Path, arguments: Sequence[str], folder: Path, stdin: str | bytes = ""
) -> subprocess.CompletedProcess[str]:
    """Run a script as `python <script> <arguments>` would in `folder`, without a new process."""
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
        _random_numbers(),
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
    printed = (_read(streams[name]) for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(command, code or 0, *printed)


def _text(content: str | bytes = "") -> TextIO:
    # with a buffer and an encoding, as the real streams have
    raw = content.encode() if isinstance(content, str) else content
    return io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8", write_through=True)


def _read(stream: TextIO) -> str:
    stream.seek(0)
    return stream.read()


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
    def loggers() -> list[logging.Logger]:
        named = logging.root.manager.loggerDict.values()
        return [logging.root, *(each for each in named if isinstance(each, logging.Logger))]

    before = {
        each: (each.level, list(each.handlers), each.propagate, each.disabled) for each in loggers()
    }
    opened = set()
    try:
        yield
    finally:
        for each in loggers():
            level, handlers, propagate, disabled = before.get(each, (0, [], True, False))
            opened |= set(each.handlers) - set(handlers)
            if each.level != level:  # because it clears a cache of every logger
                each.setLevel(level)
            each.handlers[:], each.propagate, each.disabled = handlers, propagate, disabled
        for handler in opened:
            handler.close()


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
    from seqmodels.heads import HEADS  # not above, where pytest does not check its types yet
    from seqmodels.nn.cell import CELLS
    from seqmodels.plugins import project_modules

    modules, registries = [*sys.modules], [(each, {*each}) for each in (HEADS, CELLS)]
    path = list(sys.path)
    importlib.invalidate_caches()  # the test may have written modules a moment ago
    project_modules.cache_clear()
    try:
        yield
    finally:
        sys.path[:] = path
        project_modules.cache_clear()
        # as lists, which are compared without reading thousands of names
        for name in set(sys.modules).difference(modules) if [*sys.modules] != modules else ():
            if any(_lies_in(sys.modules[name], folder) for folder in folders):
                del sys.modules[name]
        for registry, names in registries:
            for name in registry.keys() - names:
                if not getattr(registry[name], "__module__", "").startswith("seqmodels."):
                    del registry[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    spec = getattr(module, "__spec__", None)
    places = [spec.origin, *(spec.submodule_search_locations or [])] if spec else []
    return any(place and Path(place).is_relative_to(folder) for place in places)


@contextmanager
def _random_numbers() -> Iterator[None]:
    import numpy as np
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@contextmanager
def _torch_flags() -> Iterator[None]:
    import torch

    cudnn, warns = torch.backends.cudnn, torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    set_again = {
        torch.set_default_dtype: torch.get_default_dtype(),
        torch.set_num_threads: torch.get_num_threads(),
        torch.set_float32_matmul_precision: torch.get_float32_matmul_precision(),
        torch.set_grad_enabled: torch.is_grad_enabled(),
    }
    flags = cudnn.deterministic, cudnn.benchmark
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = flags
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        for function, value in set_again.items():
            function(value)  # type: ignore[operator]
