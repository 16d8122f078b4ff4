"""Turn a user's mistake into one line on standard error and exit status 2."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Iterable
from contextlib import ContextDecorator

from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from seqmodels.errors import UserError, choices, one_line
from seqmodels.visible import visible_line

FULL_ERROR = "HYDRA_FULL_ERROR"  # set it to 1 to see the traceback of every error


class readable_errors(ContextDecorator):  # noqa: N801 (used like a function)
    """Print a user's mistake as `error: ...` and exit with status 2.

    Other errors keep their traceback, and `HYDRA_FULL_ERROR=1` shows the traceback of all. A closed
    pipe (`predict.py ... | head -3`) ends the process quietly.

    Launchers pickle a function decorated with this and call it in other processes. There the error
    passes through unchanged, so that the launcher can bring it back to this process.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._shows_traceback = os.environ.get(FULL_ERROR) == "1"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or os.getpid() != self._process:
            return
        if isinstance(error, BrokenPipeError) and _nobody_reads_stdout():
            # Python flushes stdout once more at exit, which would print this error again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if isinstance(error, KeyboardInterrupt) and not self._shows_traceback:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        if isinstance(error, _mistakes()) and not self._shows_traceback:
            print(visible_line(f"error: {error_line(error)}"), file=sys.stderr)
            sys.exit(2)


def _mistakes() -> tuple[type[BaseException], ...]:
    hydra = sys.modules.get("hydra.errors")  # not imported here: most scripts don't use Hydra
    of_hydra = (hydra.HydraException,) if hydra else ()
    return (UserError, OmegaConfBaseException, ConnectionError, *of_hydra)


def _nobody_reads_stdout() -> bool:
    stdout = select.poll()
    stdout.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in stdout.poll(0))


def error_line(error: BaseException) -> str:
    """Say in one line what is wrong, where, and what to do."""
    cause = error.__cause__
    resolving = re.search(r"^UserError raised while resolving interpolation: (.*)", str(error))
    if resolving:
        return resolving[1]
    unknown = re.match(r"Could not override '([^']+)'", str(error))
    if unknown and isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None:
        group = ".".join(str(cause.full_key).split(".")[:-1])
        names = [f"{group}.{name}" if group else str(name) for name in cause.parent_node]
        return unknown_key(unknown[1].split("@")[0], names)
    if override := getattr(error, "override", None):  # Hydra's OverrideParseException
        return f"cannot read {override}: {one_line(error)}"
    if isinstance(error, MissingMandatoryValue):
        return missing_value(str(error.full_key))
    return one_line(error)


def unknown_key(key: str, names: Iterable[str]) -> str:
    """`sed is not a key of the configuration: choose one of ...; did you mean seed?`"""
    return f"{key} is not a key of the configuration: {choices(key, names)}"


def missing_value(key: str) -> str:
    """`run must be given: add run=<value>`"""
    return f"{key} must be given: add {key}=<value>"
