"""Prepare OmegaConf and Hydra for what `configs/` contains, and name the folders of runs."""

from __future__ import annotations

import hashlib
import re
import secrets
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import ListConfig, OmegaConf

from seqmodels.launch.composed import SHIPPED
from seqmodels.plugins import project_configs

# keys that say how a job is run, or what it is called; they change none of its results
NO_SETTING = ("logger", "paths", "sweep", "tags", "task_name")


class ProjectConfigs(SearchPathPlugin):
    """Hydra plugin: search the `configs/` of installed projects before the shipped one, and change
    nothing for programs of your own that use Hydra."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if any(element.path == str(SHIPPED) for element in search_path.get_path()):
            for folder in project_configs():
                search_path.prepend("project", f"file://{folder}", anchor="main")


def prepare_hydra() -> None:
    """Register the search path, and the functions that `configs/` calls, such as `${unique:}`."""
    Plugins.instance().register(ProjectConfigs)
    ignore_launcher_warning()
    for name, resolver, use_cache in (
        ("run_folder", run_folder, False),
        ("job_folder", job_folder, False),
        ("fastest_precision", _fastest_precision, False),
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


def job_folder(overrides: Any) -> str:
    """Return the name of the folder of a sweep's job: its settings, and a hash of their words.

    The same words in any order give the same folder, so that a sweep is finished, extended or
    shared by its command in its folder. Others never do.
    """
    words = [w for w in as_typed(overrides) if key_of(w).partition(".")[0] not in NO_SETTING]
    # what mostly varies first; words of one key, as in `~a +a=1`, stay in their order
    words.sort(key=lambda word: (not key_of(word).startswith(("model.", "seed")), key_of(word)))
    parts = [f"{key_of(word).rpartition('.')[2]}-{word.partition('=')[2]}" for word in words]
    name = re.sub(r"[^\w.+-]+", "-", "_".join(parts), flags=re.ASCII)[:100]
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:10]
    return f"{name}_{digest}".lstrip("_.")


def as_typed(overrides: Any) -> list[str]:
    """Return the overrides as they were typed: a `${...}` in them is not resolved, as it is where
    one looks into Hydra's own list."""
    if isinstance(overrides, ListConfig):
        return OmegaConf.to_container(overrides, resolve=False)  # type: ignore[return-value]
    return list(overrides)


def key_of(word: str) -> str:
    """Return the key of an override: `model.head` of `+model.head=max_pool`."""
    return word.lstrip("+~").partition("=")[0]
