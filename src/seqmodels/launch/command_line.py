"""Turn functions into commands, and what Hydra composes into one."""

from __future__ import annotations

import functools
import inspect
import logging
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from seqmodels.arguments import CONFIG, Name, arguments, validated
from seqmodels.errors import UserError, choices, one_line, shown, unknown_key
from seqmodels.launch.readable_errors import error_line, readable_errors
from seqmodels.plain_values import change, flattened
from seqmodels.screen import LogLines

if TYPE_CHECKING:
    from seqmodels.runs import Run

Script = Callable[[], None]
Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]
Checkpoint = Literal["best", "last"]
Names = Sequence[Name]

PACKAGE = Path(__file__).resolve().parents[1]
# a wheel has it in the package, a checkout at the root
SHIPPED = next(p for p in (PACKAGE / "configs", PACKAGE.parents[1] / "configs") if p.is_dir())


def command(function: Callable[..., None]) -> Script:
    """Make a script of a function: `key=value` words are its arguments, others its `*places`.

    `--help` prints its docstring and its usual values.
    """

    @functools.wraps(function)
    def main() -> None:
        log_to_screen()
        with readable_errors():
            if {"--help", "-h"} & {*sys.argv[1:]}:
                takes = inspect.signature(function).parameters.values()
                usual = {
                    each.name: each.default for each in takes if each.default is not each.empty
                }
                print(f"{inspect.getdoc(function)}\n\n{yaml.safe_dump(usual, sort_keys=False)}")
                return
            given, places = divided(sys.argv[1:], function)
            function(*places, **validated(arguments(function), given))
            sys.stdout.flush()  # here, where a closed pipe is handled

    return main


def divided(words: Sequence[str], function: Any) -> tuple[dict[str, Any], list[str]]:
    """The values by key, and the words without one.

    A value is the text as you wrote it if the argument takes text, so spaces and brackets stay;
    otherwise a list such as `[a,b]`, or a list of one, or what pydantic reads in the text.
    """
    parameters, takes = inspect.signature(function).parameters.values(), arguments(function)
    kinds = {f.alias: f.rebuild_annotation() for f in takes.model_fields.values()} if takes else {}
    given, places = dict[str, Any](), list[str]()
    for word in words:
        key, equals, text = word.partition("=")
        name = key.partition(".")[0]
        if equals and re.fullmatch(r"\w+(\.\w+)*", key):
            if name not in kinds:
                raise UserError(unknown_key(key, [n for n in kinds if n]))
            inner = None if text == "null" else text
            change(given, {key: _value(text, kinds[name]) if name == key else inner})
        elif word.startswith("-") or not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise UserError(f"cannot read {shown(word)}: write key=value; --help shows the keys")
        else:
            places.append(word)
    return given, places


def _value(text: str, kind: Any) -> Any:
    fits, readings = TypeAdapter(kind, config=CONFIG), list[Any]([text])
    if text == "null":
        readings.insert(0, None)
    with suppress(yaml.YAMLError):
        readings.append(yaml.safe_load(text) if text.startswith("[") else [text])
    for value in readings:
        with suppress(ValidationError):
            fits.validate_python(value)
            return value
    return text


def named_run(run: str, checkpoint: str, imports: Names, allowed: Names, **options: Any) -> Run:
    """Import the modules of a command line, and load its run.

    Raises:
        UserError: if a module cannot be imported, or the run cannot be loaded.
    """
    from seqmodels.plugins import import_modules
    from seqmodels.runs import load_run

    import_modules(imports)
    trusted = (*allowed, *(f"{name}." for name in imports))
    return load_run(run, checkpoint, allowed_targets=trusted, **options)


def log_to_screen() -> None:
    """Shows warnings on standard error, as `configs/hydra/job_logging` does."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines("%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)


def composed(name: str) -> Callable[[Callable[[Any], None]], Script]:
    """Make a script of a function, with what Hydra composes from `configs/<name>.yaml`.

    Errors are made readable on both sides of Hydra: inside, because it would print its own words
    about ours before it passes them on, and outside for its own.
    """

    def decorate(function: Callable[[Any], None]) -> Script:
        @functools.wraps(function)
        def main() -> None:
            import hydra  # here, because most scripts start without it
            from hydra._internal import hydra as internal
            from hydra._internal import utils

            from seqmodels.launch.hydra_setup import for_resume, prepare_hydra

            prepare_hydra()
            # Hydra wants its options first
            sys.argv[1:] = for_resume(sorted(sys.argv[1:], key=_is_override))
            # by a name that is not public: otherwise Hydra prints errors in its words and exits;
            # its setting, HYDRA_FULL_ERROR, would reach other processes, too
            internal.run_and_report = utils.run_and_report = lambda func: func()
            readable, begun = readable_errors(), list[bool]()

            def run_function(config: Any) -> None:
                begun.append(True)
                function(config)

            job = functools.wraps(function)(readable(run_function))
            run = hydra.main(version_base="1.3", config_path=str(SHIPPED), config_name=name)(job)
            with readable:
                try:
                    run()
                except Exception as error:
                    if begun and not is_of_hydra(error):
                        raise
                    raise mistake(error, sys.argv[1:], name) from error
                sys.stdout.flush()

        return main

    return decorate


def _is_override(word: str) -> bool:
    return not word.startswith("-") and ("=" in word or word[:1] in "+~")


def is_of_hydra(error: Exception) -> bool:
    """Whether Hydra raised it, as it does where it composes a job of a sweep."""
    from hydra.errors import HydraException

    return isinstance(error, HydraException)


def mistake(error: Exception, words: Sequence[str], name: str) -> UserError:
    """What Hydra says in one line, and for an unknown key, or file, which one you may mean.

    Args:
        words: of the command line.
        name: the file that it composes, such as `train`.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import MissingConfigException
    from omegaconf import OmegaConf

    if override := getattr(error, "override", None):  # an OverrideParseException
        return UserError(f"cannot read {shown(override)}: {one_line(error)}")
    found = re.search(r"Could not (?:override|delete from config\.) '([^'=]+)", str(error))
    if isinstance(error, MissingConfigException):
        group, _, file = (error.missing_cfg_file or "").rpartition("/")
        options = error.options or [path.stem for path in (SHIPPED / group).glob("*.yaml")]
        return UserError(f"{group}={shown(file)}: {choices(file, options)}")
    if found is None:
        line = error_line(error) or one_line(error)
        return UserError(line if is_of_hydra(error) else f"{' '.join(words)}: {line}")
    keys = {word: word.partition("=")[0] for word in words}
    groups = [w for w, key in keys.items() if key != found[1] and (SHIPPED / key).is_dir()]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(SHIPPED), version_base="1.3"):
        plain: Any = OmegaConf.to_container(compose(name, groups), resolve=False)
    return UserError(f"{unknown_key(found[1], flattened(plain))} (+{found[1]} adds one)")
