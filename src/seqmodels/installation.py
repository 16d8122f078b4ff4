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
# Where the repository is, if the package is used from where it is written.
CLONE = Path(__file__).resolve().parents[2]
# The beginning of an address by SSH.
SSH = re.compile(r"(?:ssh://git@(?=[\w.-]+/)|git@(?=[\w.-]+:))([\w.-]+).(?!\d+/)")
# What stands before an @ may be a password, and is left out.
HTTPS = re.compile(r"https://(?:[^/]*@)?([\w.-]+(?::\d+)?/[\w./~+-]+)")


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
            options = ("--remotes", "--contains", commit, "--format=%(refname)")
            branches = git(CLONE, "branch", *options)  # such as refs/remotes/origin/main
            remote = branches.split("/")[2]
            return _public(git(CLONE, "remote", "get-url", remote), commit)
    with suppress(metadata.PackageNotFoundError):
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        origin = json.loads(text or "{}")
        return _public(origin.get("url", ""), origin.get("vcs_info", {}).get("commit_id"))
    return None


def git(place: Path, *words: str) -> str:
    """What git says of a folder. It changes nothing there: `git status` would write an index, and
    leave a lock if it is killed."""
    command = ["git", "--no-optional-locks", "-C", str(place), *words]
    completed = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return completed.stdout.strip()


def _public(url: str, commit: str | None) -> str | None:
    """What pip reads for an address of git or of a file; None if it is on this machine only."""
    match = HTTPS.fullmatch(SSH.sub(r"https://\1/", url))
    if match is None:
        return None
    host_and_path = match[1]
    return f"git+https://{host_and_path}@{commit}" if commit else f"https://{host_and_path}"


def require(module: str, what: str, extra: str) -> None:
    """Imports a module that only `what` needs, such as `hydra/launcher=ray`. Raises UserError if it
    is not installed, with the packages of the extra."""
    with refusing(f"{what} needs its extra, pip install '{DISTRIBUTION}[{extra}]'", ImportError):
        importlib.import_module(module)
