"""Make a project of your own: a few files that build on this package.

seqmodels new wind_forecast
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import keyword
import re
import subprocess
import sys
import warnings
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from seqmodels.errors import UserError
from seqmodels.installation import DISTRIBUTION, PACKAGE
from seqmodels.launch.readable_errors import OneLine, readable_errors

FOLDER = Path(__file__).resolve().parents[2]  # of the package
TEMPLATE = FOLDER / "template"
TAKEN = (PACKAGE, "scripts", "tests", *sys.stdlib_module_names)


@readable_errors()
def main() -> None:
    words = _arguments()
    place = Path(words.folder or words.name).resolve()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError(f"{words.folder or words.name} is not empty: name a new folder")
    _check_name(words.name)
    from copier import run_copy  # takes a moment

    dependency, source = origin()
    data = {"name": words.name, "dependency": dependency, "source": source | {"name": words.name}}
    with warnings.catch_warnings(action="ignore"):  # that it cannot remove what it could not make
        run_copy(str(TEMPLATE), place, data, quiet=True)
    count = sum(path.is_file() for path in place.rglob("*"))
    print(f"made {words.name} in {place}: {count} files, which depend on {dependency}\n")
    print(f"cd {place}\npip install -e .\npython scripts/train.py experiment=baseline")


def _arguments() -> argparse.Namespace:
    parser = OneLine(prog=f"{PACKAGE} new", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="of the package, such as wind_forecast")
    parser.add_argument("folder", nargs="?", help="where to make it; new or empty (<name>)")
    return parser.parse_args()


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", name):
        raise UserError(
            f"{name} cannot be the name of a package: take lower-case letters, digits and "
            "underscores, beginning with a letter"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UserError(f"{name} is a keyword of Python: take another name")
    if name in TAKEN:
        raise UserError(f"{name} is the name of a module already: take another name")
    if found := importlib.util.find_spec(name):
        where = found.origin or ", ".join(found.submodule_search_locations or ())
        raise UserError(f"{name} is installed already ({where}): take another name")


def origin() -> tuple[str, dict[str, str]]:
    """Where this package came from.

    Returns:
        The requirement by which pip installs it from there again, and what `copier update` needs to
        find the template in its older and newer versions: `_src_path`, if there is a repository,
        and `_commit`.
    """
    try:
        found = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # a checkout that is only on the path
        return _of_folder(FOLDER.parents[1].as_uri())
    direct = json.loads(found.read_text("direct_url.json") or "{}")
    if "dir_info" in direct:
        return _of_folder(direct["url"])
    if vcs := direct.get("vcs_info"):
        address = f"{vcs['vcs']}+{direct['url']}"
        revision = f"@{vcs['requested_revision']}" if "requested_revision" in vcs else ""
        source = {"_commit": vcs["commit_id"], "_src_path": address}
        return f"{DISTRIBUTION} @ {address}{revision}", source
    version = found.version.partition("+")[0]
    requirement = f" @ {direct['url']}" if direct else f">={version}"
    return f"{DISTRIBUTION}{requirement}", {"_commit": f"v{version}"}


def _of_folder(url: str) -> tuple[str, dict[str, str]]:
    folder = url2pathname(urlsplit(url).path)
    words, commit = ["git", "-C", folder, "rev-parse", "HEAD"], ""
    with suppress(FileNotFoundError):  # without git, copier can't update either
        commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return f"{DISTRIBUTION} @ {url}", {"_commit": commit, "_src_path": folder}
