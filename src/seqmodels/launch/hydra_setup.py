"""Prepare OmegaConf and Hydra for what `configs/` contains, and name the folders of runs."""

from __future__ import annotations

import re
import secrets
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra._internal import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import OmegaConf

from seqmodels.errors import UserError
from seqmodels.installation import as_started
from seqmodels.launch.composing import Loader
from seqmodels.launch.config_files import config_folders
from seqmodels.launch.plan import PLAN, Overrides, Sweeper, job_folder, make_plan, read_plan


class OwnConfigs(SearchPathPlugin):
    """Hydra plugin: search your own and installed projects' `configs/` before the shipped one."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        *own, _ = config_folders()
        for folder in own:
            search_path.prepend("own", f"file://{folder}", anchor="main")


def prepare_hydra() -> None:
    """Prepare a process whose command Hydra composes."""
    register_resolvers()
    Plugins.instance().register(OwnConfigs)
    ignore_launcher_warning()


def register_resolvers() -> None:
    """Register the functions that `configs/` calls, such as `${unique:}`, and the way to compose
    it."""
    hydra.ConfigLoaderImpl = Loader  # type: ignore[misc]  # which has no public name
    for name, resolver, use_cache in (
        ("sweep_folder", sweep_folder, True),
        ("run_folder", run_folder, False),
        ("job_folder", job_folder, False),
        ("fastest_precision", _fastest_precision, False),
        ("as_started", as_started, False),
        ("unique", lambda: secrets.token_hex(4), True),
    ):
        OmegaConf.register_new_resolver(name, resolver, use_cache=use_cache, replace=True)


def ignore_launcher_warning() -> None:
    """Ignore Hydra's warning about the files in `configs/hydra/launcher`.

    They are named like the launchers' own configurations, and so take their types from them.
    """
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")


def for_resume(words: Sequence[str]) -> list[str]:
    """Return the words of a command line; where they resume a run, with `++` before each key within
    a group, because the defaults may lack a key that the run has."""
    if not any(word.startswith("resume=") for word in words):
        return [*words]
    return [re.sub(r"^\+*(?=(?!hydra)\w+\.[^=]+=)", "++", word) for word in words]


def _fastest_precision(accelerator: str) -> str:
    from seqmodels.machine import fastest_precision  # imports torch, which --help must not wait for

    return fastest_precision(accelerator)


def run_folder(fresh: str) -> str:
    """Return the folder that Hydra makes, for a job of a sweep and where `hydra.run.dir` is given;
    else `fresh`, which a training makes when it begins."""
    if HydraConfig.initialized():  # not in a notebook
        own = HydraConfig.get()
        if own.mode == RunMode.MULTIRUN or own.run.dir != own.runtime.cwd:
            return str(own.runtime.output_dir)
    return str(Path(fresh).absolute())


def sweep_folder(
    resume: str | bool | None, fresh: str, overrides: Overrides, sweeper: Sweeper = None
) -> str:
    """Return the folder of the sweep to resume, or `fresh` for a new sweep.

    The path is absolute, because jobs may start in other working directories.

    Args:
        resume: the folder of an earlier sweep; or True, for the newest sweep beside `fresh` that
            has the same overrides, or else has no jobs that this one lacks.
        fresh: the folder of a new sweep.
        overrides: this sweep's overrides.
        sweeper: `hydra.sweeper`.

    Raises:
        UserError: if there is no such sweep.
    """
    if resume is None or resume is False:
        return str(Path(fresh).resolve())
    if resume is not True:
        if not (Path(resume) / PLAN).is_file():
            raise UserError(f"sweep.resume={resume} is not a sweep folder: it has no {PLAN}")
        return str(Path(resume).resolve())
    now = make_plan(overrides, sweeper)
    plans = sorted(Path(fresh).parent.glob(f"*/{PLAN}"), key=lambda plan: plan.stat().st_mtime)
    shorter: Path | None = None
    for path in reversed(plans):
        with suppress(UserError):  # another's folder, whose plan is broken
            plan = read_plan(path.parent, sweeper)
            if plan["overrides"] == now["overrides"]:
                return str(path.parent.resolve())
            if plan["folders"].keys() <= now["folders"].keys():
                shorter = shorter or path.parent
    if shorter is not None:
        return str(shorter.resolve())
    raise UserError(
        f"sweep.resume=true: no earlier sweep of this command in {Path(fresh).parent}; "
        "name its folder, or leave out sweep.resume"
    )
