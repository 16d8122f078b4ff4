"""Turn a user's mistake into one line on standard error and exit status 2."""

from __future__ import annotations

import os
import re
import sys
from contextlib import ContextDecorator
from io import TextIOWrapper
from traceback import print_exception

from omegaconf.errors import OmegaConfBaseException

from seqmodels.errors import UserError, one_line
from seqmodels.screen import visible_line

NO_MEMORY = re.compile("can't allocate memory|out of memory|Storage size calculation overflowed")


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
        what = error.strerror or one_line(error)
        return what if error.filename is None else f"{error.filename}: {what}"
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        return f"there is not enough memory for this: {one_line(error)}"
    return one_line(error) if isinstance(error, UserError | OmegaConfBaseException) else None
