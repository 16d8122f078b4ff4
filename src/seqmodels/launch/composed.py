"""What Hydra composes from `configs/`: for a command, for the jobs of a sweep, or in a notebook."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal import hydra as internal
from hydra._internal import utils
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqmodels.errors import UserError, choices, one_line, shown, unknown_key
from seqmodels.launch.readable_errors import error_line, readable_errors
from seqmodels.plain_values import flattened
from seqmodels.plugins import project_configs, project_packages

# a wheel has it in the package, a checkout at the root
PLACES = [Path(__file__).resolve().parents[number] / "configs" for number in (1, 3)]
SHIPPED = next(path for path in PLACES if path.is_dir())
IN_1_3 = hydra.__version__.startswith("1.3.")
VERSION: Any = {"version_base": "1.3"} if IN_1_3 else {}  # Hydra 1.4 has one behaviour only
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
    # OmegaConf 2.4, of Hydra 1.4, deprecates the one; in 2.3, the other is an older function
    register: Any = OmegaConf.register_new_resolver if IN_1_3 else OmegaConf.register_resolver
    for name, resolver, use_cache in (
        ("job_folder", job_folder, False),
        ("fastest_precision", _fastest_precision, False),
        ("unique", lambda: secrets.token_hex(4), True),
    ):
        register(name, resolver, use_cache=use_cache, replace=True)


def ignore_launcher_warning() -> None:
    """Ignore Hydra's warning about the files in `configs/hydra/launcher`.

    They are named like the launchers' own configurations, and so take their types from them.
    """
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")


def _fastest_precision(accelerator: str) -> str:
    from seqmodels.machine import fastest_precision  # imports torch, which --help must not wait for

    return fastest_precision(accelerator)


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


def as_typed(overrides: Any) -> Any:
    """Return a list of Hydra's as it was typed: where you look into it, `${...}` is resolved."""
    return OmegaConf.to_container(OmegaConf.create(overrides), resolve=False)


def key_of(word: str) -> str:
    """Return the key of an override: `model.head` of `+model.head=max_pool`."""
    return word.lstrip("+~").partition("=")[0]


def composed(name: str, function: Callable[[Any], None]) -> Callable[[], None]:
    """Make a script of a function, with what Hydra composes from `configs/<name>.yaml`.

    Errors are made readable on both sides of Hydra: inside, because it would print its own words
    about ours before it passes them on, and outside for its own.
    """

    @functools.wraps(function)
    def main() -> None:
        prepare_hydra()
        # Hydra wants its options first
        sys.argv[1:] = for_resume(sorted(sys.argv[1:], key=_is_override))
        # by a name that is not public: otherwise Hydra prints errors in its words and exits;
        # its setting, HYDRA_FULL_ERROR, would reach other processes, too
        internal.run_and_report = utils.run_and_report = lambda func: func()
        # `--help` asks for them twice, for half of its time
        internal.Hydra.list_all_config_groups = _config_groups  # type: ignore[method-assign]
        readable, begun = readable_errors(), list[bool]()

        def run_function(config: Any) -> None:
            begun.append(True)
            function(config)

        job = functools.wraps(function)(readable(run_function))
        # what `hydra.callbacks` and `hydra.job_logging` may name, which Hydra 1.4 asks for
        packages = ("seqmodels", "logging", "hydra.experimental", *project_packages())
        trust: Any = {} if IN_1_3 else {"execution_whitelist": [f"{each}.*" for each in packages]}
        run = hydra.main(config_path=str(SHIPPED), config_name=name, **VERSION, **trust)(job)
        with readable:
            try:
                run()
            except Exception as error:
                if isinstance(error, UserError):  # says what is wrong already
                    raise
                if begun and not isinstance(error, HydraException):  # of a job of a sweep
                    raise
                raise mistake(error, sys.argv[1:]) from error
            sys.stdout.flush()

    return main


_config_groups = functools.cache(internal.Hydra.list_all_config_groups)


def _is_override(word: str) -> bool:
    return not word.startswith("-") and ("=" in word or word[:1] in "+~")


def compose(*overrides: str) -> DictConfig:
    """What `python scripts/train.py` would train with. It leaves no state of Hydra.

    Args:
        overrides: the words of the command line, such as `model.head=max_pool`.

    Raises:
        UserError: for a key or a file that does not exist, with what was probably meant.
    """
    prepare_hydra()
    yours = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # it composes for one program at a time
    try:
        with hydra.initialize_config_dir(str(SHIPPED), **VERSION):
            config = hydra.compose("train", for_resume(overrides))
            config.folder = config.folder  # named once
    except Exception as error:  # Hydra raises many kinds
        raise mistake(error, overrides) from error
    finally:
        GlobalHydra.instance().hydra = yours
    OmegaConf.set_struct(config, False)
    return config


def for_resume(words: Sequence[str]) -> list[str]:
    """Return the words of a command line; where they resume a run, with `++` before each key within
    a group, because the defaults may lack a key that the run has."""
    if not any(word.startswith("resume=") for word in words):
        return [*words]
    return [re.sub(r"^\+*(?=(?!hydra)\w+\.[^=]+=)", "++", word) for word in words]


def mistake(error: Exception, words: Sequence[str]) -> UserError:
    """What Hydra says in one line, and for an unknown key, or file, which one you may mean.

    Args:
        words: of the command line.
    """
    if isinstance(error, MissingConfigException):
        group, _, file = (error.missing_cfg_file or "").rpartition("/")
        options = error.options or [path.stem for path in (SHIPPED / group).glob("*.yaml")]
        return UserError(f"{group}={shown(file)}: {choices(file, options)}")
    found, cause = re.search("Could not override '(.*?)'", str(error)), error.__cause__
    if found and isinstance(cause, OmegaConfBaseException):  # of the whole that was composed
        plain: Any = OmegaConf.to_container(cause.parent_node._get_root(), resolve=False)
        names = [name for name in flattened(plain) if not name.startswith("hydra.")]
        return UserError(f"{unknown_key(found[1], names)} (+{found[1]} adds one)")
    override, line = getattr(error, "override", None), error_line(error) or one_line(error)
    if isinstance(error, HydraException) and override is None:
        return UserError(line)
    return UserError(f"cannot read {shown(override or ' '.join(words))}: {line}")


def parsed(config: DictConfig) -> list[Override]:
    """The words of a sweep, after those of its configuration files; the last of a key counts."""
    hydra = config.hydra
    files = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    words = parser.parse_overrides([*files, *as_typed(hydra.overrides.task)])
    return [*{word.get_key_element(): word for word in words}.values()]


def check_jobs(config: DictConfig, jobs: Iterable[Sequence[str]]) -> None:
    """Check each value of a sweep in one of its jobs, before the first one trains.

    Raises:
        UserError: for the first mistake.
    """
    from seqmodels.runs.keys import check_config  # imports torch, after a word is refused

    checked, loader = set[str](), GlobalHydra.instance().config_loader()
    for job in jobs:
        if not checked.issuperset(job):
            try:
                one = loader.load_sweep_config(config, [*job])
            except HydraException as error:
                raise mistake(error, job) from error
            OmegaConf.set_struct(one, False)
            del one["hydra"]
            check_config(one)
            checked.update(job)
