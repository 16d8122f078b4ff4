"""What Hydra composes from `configs/`: for a command, for the jobs of a sweep, or in a notebook."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
import shlex
import sys
import warnings
from argparse import ArgumentError, ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from string import Template
from typing import Any, ClassVar

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
)
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from seqmodels.errors import UserError, choices, one_line, refusing, shown, unknown_key
from seqmodels.launch.command_line import error_line, readable_errors
from seqmodels.plain_values import NO_SETTING, flattened, read_yaml
from seqmodels.plugins import project_configs, project_packages
from seqmodels.words import read_word

# a wheel has it in the package, a checkout at the root
PLACES = [Path(__file__).resolve().parents[number] / "configs" for number in (1, 3)]
SHIPPED = next(path for path in PLACES if path.is_dir())

# Hydra 1.3 asks for `version_base`. Hydra 1.4 warns of it, and builds only what its caller trusts.
IS_HYDRA_1_3 = hydra.__version__.startswith("1.3.")
VERSION_BASE = {"version_base": "1.3"} if IS_HYDRA_1_3 else {}
# Our files under `hydra` name these: the report of a sweep, and the lines of the log.
BUILT_BY_HYDRA = ("seqmodels.launch.sweep.SweepReport", "seqmodels.screen.LogLines")

OPTIONS = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
OPTIONS.add_argument("-m", "--multirun", action="store_true")
OPTIONS.add_argument("-h", "--help", action="store_true")
OPTIONS.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
OPTIONS.add_argument("-p", "--package")
OPTIONS.add_argument("--resolve", action="store_true")
OPTIONS.add_argument("-cd", "--config-dir")
PLAIN_NAME = re.compile(r"[\w ./-]*", re.ASCII)  # Hydra reads it without quotes.
KNOWN_OPTIONS = ("-m", "--help", "--cfg", "--package", "--resolve", "--config-dir")

# The file of each group that holds what every run needs. Hydra's `callbacks=ema` replaces it, where
# most people mean to add to it.
DEFAULT_FILES = {"callbacks": "default", "trainer": "auto"}
MOST_NAMES = 6  # An error lists no more.


class ProjectConfigs(SearchPathPlugin):
    """Hydra plugin: search the `configs/` of installed projects before the shipped one, and
    `--config-dir` after it; change nothing for programs of your own that use Hydra."""

    config_dir: ClassVar[str | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if any(element.path == str(SHIPPED) for element in search_path.get_path()):
            for folder in project_configs():
                search_path.prepend("project", f"file://{folder}", anchor="main")
            if self.config_dir:
                search_path.append("--config-dir", f"file://{Path(self.config_dir).absolute()}")


def prepare_hydra() -> None:
    """Register the search path, and the functions that `configs/` calls, such as `${unique:}`."""
    ignore_launcher_warnings()  # Importing the launchers gives them, too.
    Plugins.instance().register(ProjectConfigs)
    register: Any = OmegaConf.register_new_resolver
    if not IS_HYDRA_1_3:  # Later ones come with OmegaConf 2.4, which renames it.
        register = OmegaConf.register_resolver
    for name, resolver, use_cache in (
        ("job_folder", job_folder, False),
        ("fastest_precision", _fastest_precision, False),
        ("unique", lambda: secrets.token_hex(4), True),
    ):
        register(name, resolver, use_cache=use_cache, replace=True)


def ignore_launcher_warnings() -> None:
    """Ignore that the files in `configs/hydra/launcher` take their types from the launchers', and
    that a launcher calls what a later OmegaConf names otherwise."""
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")
    warnings.filterwarnings(
        "ignore", r"register_new_resolver\(\) is deprecated", module="hydra_plugins"
    )


def _trusting() -> AbstractContextManager[Any]:
    """Within: Hydra builds what our files name, and the classes of installed projects."""
    if IS_HYDRA_1_3:
        return nullcontext()
    names = [*BUILT_BY_HYDRA, *(f"{package}.*" for package in project_packages())]
    utilities: Any = hydra.utils  # Its types are those of Hydra 1.3.
    return utilities.execution_whitelist(names)


def _fastest_precision(accelerator: str) -> str:
    from seqmodels.machine import fastest_precision  # imports torch, which --help must not wait for

    return fastest_precision(accelerator)


def job_folder(overrides: Any) -> str:
    """Return the name of the folder of a sweep's job: its settings, and a hash of their words. The
    same words in any order give the same, so that a sweep's command finishes or extends it."""

    def rank(word: str) -> tuple[bool, str]:
        """What mostly varies comes first. Words of one key, as in `~a +a=1`, stay in order."""
        key = read_word(word).key
        return not key.startswith(("model.", "seed")), key

    words = [word for word in as_typed(overrides) if not read_word(word).key.startswith(NO_SETTING)]
    words.sort(key=rank)
    parts = []
    for word in words:
        _, key, value = read_word(word)
        parts.append(f"{key.rpartition('.')[2]}-{value or ''}")
    name = re.sub(r"[^\w.+-]+", "-", "_".join(parts), flags=re.ASCII)[:100]
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:10]
    return f"{name}_{digest}".lstrip("_.")


def as_typed(overrides: Any) -> Any:
    """Return a list of Hydra's as it was typed: where you look into it, `${...}` is resolved."""
    return OmegaConf.to_container(OmegaConf.create(overrides), resolve=False)


def _run(here: Any, name: str, job: Callable[[Any], None], words: Sequence[str]) -> bool:
    """Return False, without a run, if a file says `hydra.mode: MULTIRUN`, as a search's does."""
    try:
        here.run(name, job, words)
    except AssertionError:  # Hydra 1.3 asserts that no file makes a sweep of a run
        return False
    except ConfigCompositionException as error:
        if "hydra.mode changed" in str(error):  # Hydra 1.4 says it so.
            return False
        raise
    return True


def run_each(here: Any, name: str, job: Callable[[Any], None], words: Sequence[str]) -> None:
    """Run a function with each combination of the words' values, one after the other."""
    here.multirun(name, job, [*words, "hydra.mode=MULTIRUN"])


def composed(
    name: str, function: Callable[[Any], None], multirun: Callable[..., None] = run_each
) -> Callable[[], None]:
    """Make a script of a function, with what Hydra composes from `configs/<name>.yaml`.

    Args:
        multirun: what `-m` does; it gets what `run_each` does.
    """

    @functools.wraps(function)
    def main() -> None:
        with readable_errors():
            with refusing("cannot read the command", ArgumentError):
                options, words = OPTIONS.parse_known_args()
            unknown_options = [word for word in words if word.startswith("-")]
            if unknown_options:
                option = unknown_options[0]
                raise UserError(f"{shown(option)}: {choices(option, KNOWN_OPTIONS)}")
            words = for_resume(words)
            job = readable_errors(exits=True)(function)
            with hydra_of(name, words, options.config_dir) as here:
                if options.help:
                    print(_help(here, name, words))
                elif options.cfg:
                    here.show_cfg(name, words, options.cfg, options.package, options.resolve)
                elif options.multirun or not _run(here, name, job, words):
                    multirun(here, name, job, words)
            sys.stdout.flush()  # A closed pipe is handled here.

    return main


@contextmanager
def hydra_of(name: str, words: Sequence[str], config_dir: str | None = None) -> Iterator[Any]:
    """Within: Hydra, which searches our folders, and `config_dir`. Afterwards it is as it was.
    What it refuses of these words is a UserError with what was probably meant."""
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"--config-dir {config_dir}: no such folder")
    prepare_hydra()
    hydra_before = GlobalHydra.instance().hydra
    config_dir_before = ProjectConfigs.config_dir
    GlobalHydra.instance().clear()  # It composes for one program at a time.
    ProjectConfigs.config_dir = config_dir or config_dir_before  # `mistake` composes within.
    try:
        with _trusting(), hydra.initialize_config_dir(str(SHIPPED), name, **VERSION_BASE):
            yield GlobalHydra.instance().hydra
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:  # Hydra raises many kinds.
        raise mistake(error, name, words) from error
    finally:
        GlobalHydra.instance().hydra = hydra_before
        ProjectConfigs.config_dir = config_dir_before


def _help(here: Any, name: str, words: Sequence[str]) -> str:
    config = hydra.compose(name, [*words], return_hydra_config=True)
    our_keys = [str(key) for key in config if key != "hydra"]
    our_config = OmegaConf.masked_copy(config, our_keys)
    groups = here.format_config_groups(lambda group: not group.startswith("hydra"))
    template = Template(config.hydra.help.template)
    return template.safe_substitute(APP_CONFIG_GROUPS=groups, CONFIG=OmegaConf.to_yaml(our_config))


def compose(*overrides: str, config_dir: str | None = None) -> DictConfig:
    """What `python scripts/train.py` would train with. It leaves no state of Hydra.

    Args:
        overrides: the words of the command line, such as `model.head=max_pool`.
        config_dir: a folder of your own configurations, as `--config-dir` names one.

    """
    with hydra_of("train", overrides, config_dir):
        config = hydra.compose("train", for_resume(overrides))
        check_defaults_kept(config, overrides)
        config.folder = config.folder  # named once
    OmegaConf.set_struct(config, False)
    return config


def group_files(groups: Sequence[str]) -> dict[str, set[str]]:
    """Return the names of the files that there are in each of these groups, ours and those of the
    installed projects."""
    with hydra_of("train", ()) as here:
        return {group: {*here.config_loader.get_group_options(group)} for group in groups}


def for_resume(words: Sequence[str]) -> list[str]:
    """Return the words of a command line; where they resume a run, with `++` before each key within
    a group, because the defaults may lack a key that the run has."""
    if not any(word.startswith("resume=") for word in words):
        return [*words]
    return [_added_or_changed(word) for word in words]


def _added_or_changed(word: str) -> str:
    """Return the word, with `++` if its key is within a group, but none of Hydra's."""
    sign, key, value = read_word(word)
    group, _, name = key.partition(".")
    is_in_group = bool(name) and re.fullmatch(r"\w+", group) and not group.startswith("hydra")
    if value is None or "~" in sign or not is_in_group:
        return word
    return f"++{key}={value}"


def mistake(error: Exception, name: str, words: Sequence[str]) -> UserError:
    """What Hydra says in one line, and for an unknown key, or file, which one you may mean."""
    if isinstance(error, MissingConfigException):
        return _unknown_file(error)
    unknown = re.search("Could not override '(.*?)'", str(error))
    if unknown:
        return _unknown_key(unknown[1], name, words)
    line = error_line(error) or one_line(error)
    line = line.partition(" See https://hydra.cc")[0]  # The page is of the grammar of Hydra 1.2.
    ambiguous = re.search("Ambiguous value for argument '(.*?)'", line)
    if ambiguous:
        word = shown(ambiguous[1])
        return UserError(f"{word}: for a training with each, add -m; a list is [a,b]")
    unreadable_word = getattr(error, "override", None)
    if unreadable_word is None and isinstance(error, HydraException):
        return UserError(line)
    in_quotes = _in_double_quotes(unreadable_word) if unreadable_word else ""
    cure = f"write {in_quotes}" if in_quotes else line
    return UserError(f"cannot read {shown(unreadable_word or ' '.join(words))}: {cure}")


def _unknown_file(error: MissingConfigException) -> UserError:
    """Return which files there are, for one that there isn't."""
    group, _, file = (error.missing_cfg_file or "").rpartition("/")
    options = error.options or [path.stem for path in (SHIPPED / group).glob("*.yaml")]
    return UserError(f"{group}={shown(file)}: {choices(file, options)}")


def _unknown_key(key: str, name: str, words: Sequence[str]) -> UserError:
    """Return which key you may mean, or which file has this key, as the other words are."""
    parsed_words = OverridesParser.create().parse_overrides([*words])
    single_words = [str(word.input_line) for word in parsed_words if not word.is_sweep_override()]
    other_words = [word for word in single_words if read_word(word).key != key]
    with hydra_of(name, other_words):
        config = hydra.compose(name, other_words)
        if name == "train":  # The key may be one of those that another word has lost.
            check_defaults_kept(config, other_words)
        names = flattened(OmegaConf.to_container(config, resolve=False))
        choosing_words = _files_with(key, name, other_words)
    if not choosing_words:
        return UserError(f"{unknown_key(key, names)} (+{key} adds one)")
    which = "that, too" if len(choosing_words) == 1 else "the one that you mean"
    return UserError(f"{key} is a key of {', '.join(choosing_words)}: add {which}")


# The groups whose files may have a key that begins so; the longest beginning counts.
GROUPS_OF_KEYS = {
    **{f"{group}.": group for group in ("data", "model", "callbacks", "logger")},
    **{f"model.{group}.": group for group in ("optimizer", "scheduler")},
}


def _files_with(key: str, name: str, words: Sequence[str]) -> list[str]:
    """Return the words that choose a file with this key, such as `data=text` and `data=tags` of
    `data.train`, where the file that these words choose lacks it."""
    beginnings = [beginning for beginning in GROUPS_OF_KEYS if key.startswith(beginning)]
    if not beginnings:
        return []
    group = GROUPS_OF_KEYS[max(beginnings, key=len)]
    words = [word for word in words if read_word(word).key != group]
    sign = "+" if group == "callbacks" else ""
    choosing_words = []
    for file in GlobalHydra.instance().config_loader().get_group_options(group):
        word = f"{sign}{group}={file}"
        try:
            config = hydra.compose(name, [*words, word])
        except HydraException:  # another word names a key that this file lacks
            continue
        if key in flattened(OmegaConf.to_container(config, resolve=False)):
            choosing_words.append(word)
    return choosing_words


def _in_double_quotes(word: str) -> str:
    """Return a word whose names stand in double quotes, for the shell, such as
    `'data.inputs=["Temperatur [°C]",s2]'`; empty if that can't be read either, or if the word has
    quotes or braces already."""
    sign, key, value = read_word(word)
    if not key or value is None or any(mark in value for mark in "'\"{}"):
        return ""
    is_list = value.startswith("[") and value.endswith("]")
    if value.startswith("[") != value.endswith("]"):
        return ""  # a bracket is missing
    names = [name.strip() for name in (value[1:-1] if is_list else value).split(",")]
    quoted = [name if PLAIN_NAME.fullmatch(name) else f'"{name}"' for name in names]
    written = ",".join(quoted)
    in_quotes = f"{sign}{key}=[{written}]" if is_list else f"{sign}{key}={written}"
    try:
        OverridesParser.create().parse_override(in_quotes)
    except HydraException:
        return ""
    return shlex.quote(in_quotes)


def check_defaults_kept(config: DictConfig, words: Sequence[str]) -> None:
    """Make sure that a configuration of `configs/train.yaml` has every name that the default files
    of `callbacks` and `trainer` have. A name that is null is there: somebody left it out on
    purpose, as with a word such as `~callbacks.progress`. A resume takes these groups from the
    run's folder, so it is not checked.

    Args:
        words: of the command line, to show how to write the one that replaces a group.

    Raises:
        UserError: with the names that would be lost, and the word that keeps them.
    """
    if config.get("resume") is not None:
        return
    deleted_keys = {read_word(word).key for word in words if word.startswith("~")}
    for group, default_file in DEFAULT_FILES.items():
        default_values: dict[str, Any] = read_yaml(SHIPPED / group / f"{default_file}.yaml")
        if group in config and config[group] is None:
            continue  # a file says `callbacks: null`
        kept_names = config.get(group, {}).keys()
        lost_names = [
            name
            for name in default_values
            if name not in kept_names and f"{group}.{name}" not in deleted_keys
        ]
        if lost_names:
            raise UserError(_advice(group, default_file, lost_names, words))


def _advice(group: str, default_file: str, lost_names: Sequence[str], words: Sequence[str]) -> str:
    names = ", ".join(lost_names[:MOST_NAMES])
    if len(lost_names) > MOST_NAMES:
        names += ", ..."
    lost = f"leaves out {names}, which {group}={default_file} has"
    choosing_words = [
        word for word in words if read_word(word).key == group and not word.startswith("~")
    ]
    if group == "trainer":
        word = choosing_words[0] if choosing_words else "your configuration"
        return f"{word} {lost}: begin your file with `defaults: [{default_file}, _self_]`"

    leave_out = f"to leave one out, set it to null, as in {group}.{lost_names[-1]}=null"
    if not choosing_words:
        return (
            f"a file that you chose replaces {group}={default_file} and {lost}: write `override "
            f"/{group}: [{default_file}, ...]` there; {leave_out}"
        )
    word = choosing_words[0].lstrip("+")
    if read_word(word).value in ("", "[]"):
        return f"{word} {lost}: leave out this word; {leave_out}"
    return f"{word} {lost}: write +{word} to add to them; {leave_out}"
