"""Make a project of your own: a few files that build on this package."""

from __future__ import annotations

import importlib.util
import keyword
import re
import warnings
from pathlib import Path

from seqmodels.errors import UserError
from seqmodels.installation import DISTRIBUTION
from seqmodels.launch.command_line import command

TEMPLATE = Path(__file__).resolve().parents[2] / "template"


@command
def main(*places: str) -> None:
    """Make a project of your own: a few files that build on this package.

    seqmodels new wind_forecast

    After the name of the package, you may name the folder to make, new or empty.
    """
    if not 1 <= len(places) <= 2:
        raise UserError("name the package, such as wind_forecast, and perhaps its folder")
    name, folder = places[0], Path(places[-1])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: name a new folder")
    taken = (*keyword.kwlist, *keyword.softkwlist, "scripts", "tests")
    is_name = re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", name)
    if not is_name or name in taken or importlib.util.find_spec(name):
        raise UserError(
            f"{name}: take another name, of lower-case letters, digits and underscores, which is "
            "no word of Python and no module that you have installed"
        )
    from copier import run_copy  # takes a moment

    data = {"name": name, "dependency": DISTRIBUTION, "source": {"name": name}}
    with warnings.catch_warnings(action="ignore"):  # that it cannot remove what it could not make
        run_copy(str(TEMPLATE), folder.resolve(), data, quiet=True)
    count = sum(path.is_file() for path in folder.rglob("*"))
    print(f"made {name} in {folder.resolve()}: {count} files, which depend on {DISTRIBUTION}\n")
    print(f"cd {folder.resolve()}\npip install -e .\npython scripts/train.py experiment=baseline")
