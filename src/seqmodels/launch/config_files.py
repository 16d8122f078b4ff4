"""Where `configs/` is: the one that comes with the package, those of projects, and your own."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import chdir
from pathlib import Path

from seqmodels.plain import run_around
from seqmodels.projects import project_configs
from seqmodels.visible import visible_line

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]
# a wheel has it in the package, a checkout at the root
SHIPPED = next(p for p in (PACKAGE / "configs", PACKAGE.parents[1] / "configs") if p.is_dir())


def config_folders() -> list[Path]:
    """All `configs/`, in this order: your own, those of installed projects, and the shipped one."""
    return [*own_configs(), *project_configs(), SHIPPED]


def own_configs() -> list[Path]:
    """`configs/` in the current directory, if there is one that is yours."""
    own = Path.cwd() / "configs"
    yours = own.is_dir() and own.resolve() != SHIPPED and not run_around(Path.cwd())
    return [own] if yours else []


def distrust_run_folder() -> None:
    """Where the current directory lies in a run folder, takes no configuration, no modules and no
    libraries' settings from it: it may be a stranger's."""
    here = Path.cwd()
    if not (run := run_around(here)):
        return
    if (here / "configs").is_dir():
        log.warning(visible_line(f"{here / 'configs'} is not read: it lies in the run {run}"))
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]
    os.environ["PYTHONSAFEPATH"] = "1"  # of processes that are started
    os.environ.setdefault("NUMBA_CACHE_DIR", "")  # else .numba_config.yaml may set it, to pickles
    with chdir(SHIPPED):
        import matplotlib  # noqa: F401 (it reads matplotlibrc, which may name programs to run)
