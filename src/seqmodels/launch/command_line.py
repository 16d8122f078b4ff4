"""Make commands of functions, whose mistakes are one line on standard error."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ContextDecorator
from io import TextIOWrapper
from traceback import print_exception
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import yaml
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator

from seqmodels.arguments import Name, arguments, validated
from seqmodels.errors import UserError, one_line, shown, unknown_key
from seqmodels.plain_values import change
from seqmodels.screen import LogLines, visible_line
from seqmodels.words import read_word

if TYPE_CHECKING:
    from seqmodels.runs import Run

Script = Callable[[], None]
Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]
Checkpoint = Literal["best", "last"]
# a name, or `[a,b]`
Names = Annotated[Sequence[Name], BeforeValidator(lambda text: re.findall(r"[^][,\s]+", text))]

# The keys of commands that load a run, besides those of their docstrings.
KEYS_OF_A_RUN = {
    "batch_size": "null: as in training.",
    "accelerator": "auto, cpu, gpu or mps.",
    "checkpoint": "best or last.",
    "imports": "your modules that define the run's head; their code runs.",
    "allowed_targets": "more classes that the run's configuration may name, if you trust them.",
}

NO_MEMORY = re.compile("can't allocate memory|out of memory|Storage size calculation overflowed")


def command(function: Callable[..., None]) -> Script:
    """Make a script of a function: `key=value` words are its arguments, others its `*places`.

    `--help` prints its docstring, with `KEYS_OF_A_RUN`, and its usual values.
    """

    @functools.wraps(function)
    def main() -> None:
        handler = logging.StreamHandler()  # It is the one in `configs/hydra/job_logging`.
        handler.setFormatter(LogLines("%(levelname)s: %(message)s"))
        logging.getLogger().addHandler(handler)
        with readable_errors():
            if {"--help", "-h"} & {*sys.argv[1:]}:
                print(_help(function))
                return
            values, places = read_words(sys.argv[1:], function)
            function(*places, **validated(arguments(function), values))
            sys.stdout.flush()  # here, where a closed pipe is handled

    return main


def _help(function: Callable[..., None]) -> str:
    parameters = inspect.signature(function).parameters
    lines = [f"    {key}: {text}" for key, text in KEYS_OF_A_RUN.items() if key in parameters]
    text = "\n".join([str(inspect.getdoc(function)), *lines])
    defaults = {
        key: parameter.default
        for key, parameter in parameters.items()
        if parameter.default is not parameter.empty
    }
    return f"{text}\n\n{yaml.safe_dump(defaults, sort_keys=False)}" if defaults else text


def read_words(words: Sequence[str], function: Any) -> tuple[dict[str, Any], list[str]]:
    """The values by key, and the words without one.

    A value is the text as you wrote it, with spaces and brackets, of which pydantic reads what the
    argument takes; but `null` is None where the argument may be. `--key value` is `key=value`, too.
    """
    parameters = inspect.signature(function).parameters.values()
    takes_places = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    arguments_by_name = arguments(function).arguments
    values, places = dict[str, Any](), list[str]()
    for word in _with_equals(words, arguments_by_name):
        sign, key, text = read_word(word)
        name = key.partition(".")[0]
        if text is not None and not sign and re.fullmatch(r"\w+(\.\w+)*", key):
            if name not in arguments_by_name:
                raise UserError(unknown_key(key, arguments_by_name))
            alternatives = get_args(arguments_by_name[name].annotation)
            may_be_none = key != name or NoneType in alternatives
            change(values, {key: None if text == "null" and may_be_none else text})
        elif word.startswith("-") or not takes_places:
            raise UserError(f"cannot read {shown(word)}: write key=value; --help shows the keys")
        else:
            places.append(word)
    return values, places


def _with_equals(words: Sequence[str], names: Container[str]) -> Iterator[str]:
    """The words, with `--key value` and `--key=value` of an argument as `key=value`."""
    remaining = iter(words)
    for word in remaining:
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in names:
            yield word
        elif equals:
            yield f"{name}={text}"
        else:
            value = next(remaining, "--")
            # Without a value, the word itself is refused.
            yield word if value.startswith("--") else f"{name}={value}"


def named_run(run: str, checkpoint: str, imports: Names, allowed: Names, **options: Any) -> Run:
    """Import the modules of a command line, and load its run."""
    from seqmodels.plugins import import_modules, trusted_classes
    from seqmodels.runs import load_run

    import_modules(imports)
    trusted = trusted_classes(imports, allowed)
    return load_run(run, checkpoint, allowed_targets=trusted, **options)


class readable_errors(ContextDecorator):  # noqa: N801 (used like a function)
    """Print a user's mistake, or what the machine refuses, as `error: ...` and exit with status 2.
    A closed pipe (`predict.py ... | head -3`) ends the process quietly. Other errors keep their
    traceback; `exits`: print it, and exit with status 1. `HYDRA_FULL_ERROR=1` shows that of all.

    Launchers pickle a function decorated with this and call it in other processes. There the error
    passes through unchanged, so that the launcher can bring it back to this process.
    """

    def __init__(self, *, exits: bool = False) -> None:
        self._process, self._exits = os.getpid(), exits

    def __enter__(self) -> None:
        # A terminal or file of Windows may lack a character of your data, which is escaped then.
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or os.getpid() != self._process:
            return
        if os.environ.get("HYDRA_FULL_ERROR") != "1":
            if isinstance(error, BrokenPipeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes it at exit
                sys.exit(1)
            if line := error_line(error):
                print(visible_line(f"error: {line}"), file=sys.stderr)
                sys.exit(2)
        if self._exits and isinstance(error, Exception):
            print_exception(error)
            sys.exit(1)


def error_line(error: BaseException) -> str | None:
    """What is wrong, where, and what to do; None for a fault of the program."""
    if isinstance(error, OSError):
        reason = error.strerror or one_line(error)
        return reason if error.filename is None else f"{error.filename}: {reason}"
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        return f"there is not enough memory for this: {one_line(error)}"
    return one_line(error) if isinstance(error, UserError | OmegaConfBaseException) else None
