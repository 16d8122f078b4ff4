"""Turn a user's mistake into one line on standard error and exit status 2."""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import ContextDecorator

from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from seqmodels.errors import UserError, missing_value, one_line
from seqmodels.screen import visible_line

NO_MEMORY = re.compile("can't allocate memory|out of memory|Storage size calculation overflowed")


class readable_errors(ContextDecorator):  # noqa: N801 (used like a function)
    """Print a user's mistake, or what the machine refuses, as `error: ...` and exit with status 2.

    Other errors keep their traceback, and `HYDRA_FULL_ERROR=1` shows that of all. A closed pipe
    (`predict.py ... | head -3`) ends the process quietly.

    Launchers pickle a function decorated with this and call it in other processes. There the error
    passes through unchanged, so that the launcher can bring it back to this process.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        full = os.environ.get("HYDRA_FULL_ERROR") == "1"
        if error is None or full or os.getpid() != self._process:
            return
        if _is_interruption(error):
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes it at exit
            sys.exit(1)
        if line := error_line(error):
            print(visible_line(f"error: {line}"), file=sys.stderr)
            sys.exit(2)


def _is_interruption(error: BaseException | None) -> bool:
    """Whether this is a Ctrl-C, or an error that it caused: OmegaConf, interrupted in the middle of
    a change, fails where it undoes the change."""
    if isinstance(error, Exception):
        return _is_interruption(error.__context__)
    return isinstance(error, KeyboardInterrupt)


def error_line(error: BaseException) -> str | None:
    """What is wrong, where, and what to do; None for a fault of the program."""
    if isinstance(error, OSError):
        what = error.strerror or one_line(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            what = f"{what}: free some space, or write to another disk"
        return what if error.filename is None else f"{error.filename}: {what}"
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and NO_MEMORY.search(str(error))
    ):
        return f"there is not enough memory for this: {one_line(error)}"
    if isinstance(error, NotImplementedError) and " must define " in str(error):
        return one_line(error)  # of a class of your own that lacks a method
    if isinstance(error, MissingMandatoryValue):
        return missing_value(str(error.full_key))
    if resolving := re.search(r"^UserError raised while resolving interpolation: (.*)", str(error)):
        return resolving[1]
    return one_line(error) if isinstance(error, UserError | OmegaConfBaseException) else None
