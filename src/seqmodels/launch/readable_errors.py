"""Turn a user's mistake into one line on standard error and exit status 2."""

from __future__ import annotations

import argparse
import errno
import io
import os
import re
import select
import sys
from contextlib import ContextDecorator
from typing import NoReturn

from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from seqmodels.errors import UserError, missing_value, one_line
from seqmodels.installation import as_started
from seqmodels.screen import visible_line

NO_MEMORY = re.compile(
    "can't allocate memory|out of memory|Storage size calculation overflowed"
)  # PyTorch's words


class readable_errors(ContextDecorator):  # noqa: N801 (used like a function)
    """Print a user's mistake as `error: ...` and exit with status 2.

    An error of the machine, such as a full disk, looks the same. Other errors keep their traceback,
    and `HYDRA_FULL_ERROR=1` shows the traceback of all. A closed pipe (`predict.py ... | head -3`)
    ends the process quietly.

    Launchers pickle a function decorated with this and call it in other processes. There the error
    passes through unchanged, so that the launcher can bring it back to this process.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._shows_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or os.getpid() != self._process:
            return
        if _is_interruption(error) and not self._shows_traceback:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        refused = isinstance(error, Exception | SystemExit) and not _takes_output()
        if refused and isinstance(error, BrokenPipeError | SystemExit):
            sys.exit(1)
        if is_mistake(error) and not self._shows_traceback:
            print(visible_line(as_started(f"error: {error_line(error)}")), file=sys.stderr)
            sys.exit(2)


class OneLine(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: --help shows what it takes")


def _is_interruption(error: BaseException) -> bool:
    """Whether this is a Ctrl-C, or an error that it caused: OmegaConf, interrupted in the middle of
    a change, fails where it undoes the change."""
    if not isinstance(error, Exception):
        return isinstance(error, KeyboardInterrupt)
    return error.__context__ is not None and _is_interruption(error.__context__)


def is_mistake(error: BaseException) -> bool:
    """Whether the user can mend it, or the machine refuses something."""
    hydra = sys.modules.get("hydra.errors")  # not imported here: most scripts don't use Hydra
    of_hydra = (hydra.HydraException,) if hydra else ()
    known = (UserError, OmegaConfBaseException, OSError, MemoryError, *of_hydra)
    if isinstance(error, NotImplementedError):  # of a class of your own that lacks a method
        return " must define " in str(error)
    return isinstance(error, known) or (
        isinstance(error, RuntimeError) and bool(NO_MEMORY.search(str(error)))
    )


def _takes_output() -> bool:
    """Whether standard output takes what it still holds.

    If not, leads it to nowhere: Python flushes it at exit, and would print the error once more.
    """
    try:
        sys.stdout.flush()
        watched = select.poll()
        watched.register(sys.stdout.fileno(), 0)
        if not any(event & select.POLLERR for _, event in watched.poll(0)):
            return True
    except io.UnsupportedOperation:  # not a file
        return True
    except OSError:
        pass
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return False


def error_line(error: BaseException) -> str:
    """Say in one line what is wrong, where, and what to do."""
    if isinstance(error, OSError):
        what = error.strerror or one_line(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            what = f"{what}: free some space, or write to another disk"
        return what if error.filename is None else f"{error.filename}: {what}"
    if isinstance(error, (MemoryError, RuntimeError)) and not isinstance(
        error, NotImplementedError
    ):
        return f"there is not enough memory for this: {one_line(error)}"
    resolving = re.search(r"^UserError raised while resolving interpolation: (.*)", str(error))
    if resolving:
        return resolving[1]
    if override := getattr(error, "override", None):  # Hydra's OverrideParseException
        return f"cannot read {override}: {one_line(error)}"
    if isinstance(error, MissingMandatoryValue):
        return missing_value(str(error.full_key))
    return one_line(error)
