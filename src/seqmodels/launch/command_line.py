"""What every script needs: errors for people, and run folders that never collide."""

from __future__ import annotations

import os
import re
import secrets
import sys
import warnings
from contextlib import ContextDecorator

from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from seqmodels.errors import UserError, choices, one_line
from seqmodels.launch.naming import run_folder, short_name, sweep_folder

FULL_ERROR = "HYDRA_FULL_ERROR"
WANTS_TRACEBACK = os.environ.get(FULL_ERROR) == "1"


def _fastest_precision(accelerator: str) -> str:
    from seqmodels.machine import fastest_precision  # slow to import, so not for --help

    return fastest_precision(accelerator)


# each file in configs/hydra/launcher has the name of the plugin's own, which lends it types
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")
OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True)
OmegaConf.register_new_resolver("short_name", short_name)
OmegaConf.register_new_resolver("fastest_precision", _fastest_precision)
OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(4), use_cache=True)
OmegaConf.register_new_resolver("run_folder", run_folder)


def take_text(key: str) -> str | None:
    """Takes `key=text` off the command line, so that Hydra, which would trim it and give meaning
    to its brackets and commas, does not see it; None where there is none."""
    prefix, text = f"{key}=", None
    for argument in [a for a in sys.argv[1:] if a.startswith(prefix)]:
        sys.argv.remove(argument)
        text = argument.removeprefix(prefix)
    return text


def take_positional() -> list[str]:
    """Takes the arguments that are neither `key=value` nor an option off the command line."""
    taken = [a for a in sys.argv[1:] if "=" not in a and not a.startswith("-")]
    sys.argv[1:] = [a for a in sys.argv[1:] if a not in taken]
    return taken


class readable_errors(ContextDecorator):  # noqa: N801 (used like a function)
    """A person's mistake ends in one line and exit status 2; anything else, in a traceback.

    `HYDRA_FULL_ERROR=1` shows the traceback of both. Decorates a script's function twice: inside
    `hydra.main` for what we find wrong, which Hydra would report in its own words first, and
    outside for what Hydra finds wrong. Has no state, so that launchers can send the function to
    other processes.
    """

    def __enter__(self) -> None:
        os.environ[FULL_ERROR] = "1"  # otherwise Hydra prints what it likes, and exits by itself

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if WANTS_TRACEBACK or error is None or isinstance(error, BrokenPipeError):
            return
        if isinstance(error, (UserError, HydraException, OmegaConfBaseException, ConnectionError)):
            print(f"error: {explain(error)}", file=sys.stderr)
            sys.exit(2)


def explain(error: BaseException) -> str:
    """One line that says what is wrong, where, and what to do."""
    cause = error.__cause__
    resolving = re.search(r"^UserError raised while resolving interpolation: (.*)", str(error))
    if resolving:
        return resolving[1]
    unknown = re.match(r"Could not override '([^']+)'", str(error))
    if unknown and isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None:
        key = unknown[1].split("@")[0]
        group = ".".join(str(cause.full_key).split(".")[:-1])
        names = [f"{group}.{name}" if group else str(name) for name in cause.parent_node]
        return f"{key} is not a key of the configuration: {choices(key, names)}"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override}: {one_line(error)}"
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} must be given: add {error.full_key}=<value>"
    return one_line(error)
