"""Make commands of functions."""

from __future__ import annotations

import functools
import inspect
import logging
import re
import sys
from collections.abc import Callable, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import yaml
from pydantic import BeforeValidator

from seqmodels.arguments import Name, arguments, validated
from seqmodels.errors import UserError, shown, unknown_key
from seqmodels.launch.readable_errors import readable_errors
from seqmodels.plain_values import change
from seqmodels.screen import LogLines

if TYPE_CHECKING:
    from seqmodels.runs import Run

Script = Callable[[], None]
Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]
Checkpoint = Literal["best", "last"]
# a name, or `[a,b]`
Names = Annotated[Sequence[Name], BeforeValidator(lambda text: re.findall(r"[^][,\s]+", text))]

# what commands that load a run take, besides the keys of their docstrings
KEYS_OF_A_RUN = {
    "batch_size": "null: as in training.",
    "accelerator": "auto, cpu, gpu or mps.",
    "checkpoint": "best or last.",
    "imports": "your modules that define the run's head; their code runs.",
    "allowed_targets": "more classes that the run's configuration may name, if you trust them.",
}


def command(function: Callable[..., None]) -> Script:
    """Make a script of a function: `key=value` words are its arguments, others its `*places`.

    `--help` prints its docstring, with `KEYS_OF_A_RUN`, and its usual values.
    """

    @functools.wraps(function)
    def main() -> None:
        handler = logging.StreamHandler()  # of warnings, as in `configs/hydra/job_logging`
        handler.setFormatter(LogLines("%(levelname)s: %(message)s"))
        logging.getLogger().addHandler(handler)
        with readable_errors():
            if {"--help", "-h"} & {*sys.argv[1:]}:
                print(_help(function))
                return
            given, places = read_words(sys.argv[1:], function)
            function(*places, **validated(arguments(function), given))
            sys.stdout.flush()  # here, where a closed pipe is handled

    return main


def _help(function: Callable[..., None]) -> str:
    takes = inspect.signature(function).parameters
    lines = [f"    {key}: {text}" for key, text in KEYS_OF_A_RUN.items() if key in takes]
    usual = {key: each.default for key, each in takes.items() if each.default is not each.empty}
    values = f"\n\n{yaml.safe_dump(usual, sort_keys=False)}" if usual else ""
    return "\n".join([str(inspect.getdoc(function)), *lines]) + values


def read_words(words: Sequence[str], function: Any) -> tuple[dict[str, Any], list[str]]:
    """The values by key, and the words without one.

    A value is the text as you wrote it, with spaces and brackets, of which pydantic reads what the
    argument takes; but `null` is None where the argument may be.
    """
    parameters = inspect.signature(function).parameters.values()
    kinds = arguments(function).kinds
    given, places = dict[str, Any](), list[str]()
    for word in words:
        key, equals, text = word.partition("=")
        name = key.partition(".")[0]
        if equals and re.fullmatch(r"\w+(\.\w+)*", key):
            if name not in kinds:
                raise UserError(unknown_key(key, kinds))
            may_be_none = key != name or NoneType in get_args(kinds[name][0])
            change(given, {key: None if text == "null" and may_be_none else text})
        elif word.startswith("-") or not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise UserError(f"cannot read {shown(word)}: write key=value; --help shows the keys")
        else:
            places.append(word)
    return given, places


def named_run(run: str, checkpoint: str, imports: Names, allowed: Names, **options: Any) -> Run:
    """Import the modules of a command line, and load its run."""
    from seqmodels.plugins import import_modules, trusted_classes
    from seqmodels.runs import load_run

    import_modules(imports)
    trusted = trusted_classes(imports, allowed)
    return load_run(run, checkpoint, allowed_targets=trusted, **options)
