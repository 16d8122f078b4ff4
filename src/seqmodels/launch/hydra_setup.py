"""Prepare OmegaConf and Hydra for what `configs/` contains."""

from __future__ import annotations

import secrets
import warnings

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from seqmodels.launch.composing import compose_by_class
from seqmodels.launch.config_files import config_folders
from seqmodels.launch.naming import run_folder, sweep_folder
from seqmodels.launch.plan import job_folder
from seqmodels.program import as_started


class OwnConfigs(SearchPathPlugin):
    """Hydra plugin: search your own `configs/` and those of projects before the shipped one."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        *own, _ = config_folders()
        for folder in own:
            search_path.prepend("own", f"file://{folder}", anchor="main")


def search_own_configs() -> None:
    Plugins.instance().register(OwnConfigs)


def register_resolvers() -> None:
    """Register the functions that `configs/` calls, such as `${unique:}`, and the way to compose
    it."""
    compose_by_class()
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


def _fastest_precision(accelerator: str) -> str:
    from seqmodels.machine import fastest_precision  # imports torch, which --help must not wait for

    return fastest_precision(accelerator)
