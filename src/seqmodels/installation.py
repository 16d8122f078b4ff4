"""How this program was installed and started, for the commands that it tells you to run."""

from __future__ import annotations

import importlib
from importlib import metadata

from seqmodels.errors import UserError, one_line

PACKAGE = __name__.partition(".")[0]
DISTRIBUTION = "seqmodels-template"


def version() -> str:
    """The version of the installed distribution; `unknown` if the package is only on the path."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


def require(module: str, what: str, extra: str) -> None:
    """Imports a module that only `what` needs, such as `hydra/launcher=ray`.

    Raises:
        UserError: if it is not installed, with the packages of the extra.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{what} needs a package that is not installed ({one_line(error)}): "
            f"pip install '{DISTRIBUTION}[{extra}]'"
        ) from error
