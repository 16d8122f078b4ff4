from __future__ import annotations

import importlib.util
import keyword
import re
import warnings
from pathlib import Path

from seqmodels.errors import UserError
from seqmodels.installation import DISTRIBUTION, address
from seqmodels.launch.command_line import command

TEMPLATE = Path(__file__).resolve().parents[2] / "template"
# The template's README and workflow say the same.
NO_ADDRESS = (
    f"{DISTRIBUTION} has no address: before others install this project, write in pyproject.toml "
    f"where they get it, such as {DISTRIBUTION} @ git+https://<host>/<owner>/<name>@<commit>"
)


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
        free = "which is no word of Python and no module that you have installed"
        raise UserError(f"{name}: take another name, of lower-case letters, digits and _, {free}")
    from copier import run_copy  # takes a moment

    place = address()
    needs = f"{DISTRIBUTION} @ {place}" if place else DISTRIBUTION
    data = {"name": name, "dependency": needs, "source": {"name": name}}
    with warnings.catch_warnings(action="ignore"):  # It can't remove what it couldn't make.
        run_copy(str(TEMPLATE), folder.resolve(), data, quiet=True)
    count = sum(path.is_file() for path in folder.rglob("*"))
    print(f"made {name} in {folder.resolve()}: {count} files, which depend on {needs}")
    if place is None:
        print(NO_ADDRESS)
    # the engine stays as it is installed here
    print(f"\ncd {folder.resolve()}\npip install --no-deps -e .")
    print("python scripts/train.py experiment=baseline")
