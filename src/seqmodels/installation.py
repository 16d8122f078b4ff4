"""How this program was installed and started, for the commands that it tells you to run."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from seqmodels.errors import refusing

PACKAGE = __name__.partition(".")[0]
DISTRIBUTION = "seqmodels-template"
CLONE = Path(__file__).resolve().parents[2]  # if the package is used from where it is written
FORGE = re.compile(r"(?:ssh://git@(?=[\w.-]+/)|git@(?=[\w.-]+:))([\w.-]+).(?!\d+/)")  # by SSH
# what stands before an @ may be a password
PLACE = re.compile(r"https://(?:[^/]*@)?([\w.-]+(?::\d+)?/[\w./~+-]+)")


def version() -> str:
    """The version of the installed distribution; `unknown` if the package is only on the path."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


def address() -> str | None:
    """Where others get what is installed here, as pip reads it, such as `git+https://...@<commit>`.

    None if there is no such place: pip noted none (PEP 610), or no remote of the clone has its
    commit. Leaves out user names and passwords.
    """
    if (CLONE / ".git").exists():
        with suppress(OSError, subprocess.CalledProcessError, IndexError):
            commit = git(CLONE, "rev-parse", "HEAD")
            pushed = git(CLONE, "branch", "--remotes", "--contains", commit, "--format=%(refname)")
            return _public(git(CLONE, "remote", "get-url", pushed.split("/")[2]), commit)
    with suppress(metadata.PackageNotFoundError):
        noted = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
        return _public(noted.get("url", ""), noted.get("vcs_info", {}).get("commit_id"))
    return None


def git(place: Path, *words: str) -> str:
    """What git says of a folder. It changes nothing there: `git status` would write an index, and
    leave a lock if it is killed."""
    command = ["git", "--no-optional-locks", "-C", str(place), *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip()


def _public(url: str, commit: str | None) -> str | None:
    found = PLACE.fullmatch(FORGE.sub(r"https://\1/", url))
    if found is None:  # on this machine only
        return None
    return f"git+https://{found[1]}@{commit}" if commit else f"https://{found[1]}"


def require(module: str, what: str, extra: str) -> None:
    """Imports a module that only `what` needs, such as `hydra/launcher=ray`. Raises UserError if it
    is not installed, with the packages of the extra."""
    with refusing(f"{what} needs its extra, pip install '{DISTRIBUTION}[{extra}]'", ImportError):
        importlib.import_module(module)
