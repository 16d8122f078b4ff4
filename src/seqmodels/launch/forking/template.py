"""The files of a project: the template's, without what is its own, under another name."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from zipfile import ZipFile

from seqmodels.errors import UserError
from seqmodels.launch.forking.leaving_out import Files
from seqmodels.launch.forking.names import renamed, wrapped

PACKAGE = Path(__file__).resolve().parents[2]
ROOT = PACKAGE.parents[1]  # of a checkout
ARCHIVE = PACKAGE / "template.zip"  # in a wheel
OURS = (  # about the template itself: of no use in a project made from it
    "benchmarks/*",
    "studies/*",
    "docs/*.md",
    "docs/language_model.svg",
    "docs/*.ipynb",
    "docs/*.css",
    "docs/api/*",
    "docs/tasks/*",
    "zensical.toml",
    ".ci/docs",
    ".github/workflows/pages.yml",
    "tests/test_docs.py",
    "tests/test_readme.py",
    "configs/experiment/study_*.yaml",
    "scripts/new_project.py",
    "src/seqmodels/launch/forking/*",
    "src/seqmodels/launch/commands/new.py",
    "hatch_build.py",
    "tests/test_new_project.py",
    "tests/test_leaving_out.py",
    "tests/test_soak.py",
    "tests/test_benchmarks.py",
    "tests/test_older_runs.py",
    "tests/older_runs/*",
    "copier.yml",
    ".copier/*",
    "CHANGELOG.md",
    "CITATION.cff",
)
STYLE = (  # sorts imports, breaks lines, and lets strings be that a longer name made too long
    "ruff check --fix --exit-zero -q .",
    "ruff format -q .",
    "ruff check --add-noqa --select E501 -q .",
)


def template_files() -> dict[str, bytes]:
    """What git tracks; without a history, what it would; from a wheel, what it was built from."""
    if ARCHIVE.is_file():
        with ZipFile(ARCHIVE) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    if (ROOT / ".git").exists():
        listed = git("ls-files", "-z")
    else:
        with tempfile.TemporaryDirectory() as folder:
            git("init", "-q", "--bare", folder)
            here = (f"--git-dir={folder}", f"--work-tree={ROOT}")
            listed = git(*here, "ls-files", "-z", "-o", "--exclude-standard")
    paths = [path for path in listed.split("\0") if path and (ROOT / path).is_file()]
    return {path: (ROOT / path).read_bytes() for path in paths}


def split_binary(files: dict[str, bytes]) -> tuple[Files, dict[str, bytes]]:
    texts, others = {}, {}
    for file, content in files.items():
        try:
            texts[file] = content.decode()
        except UnicodeDecodeError:
            others[file] = content
    return texts, others


def is_ours(file: str) -> bool:
    return any(fnmatch(file, pattern) for pattern in OURS)


def with_names(files: Files, name: str, author: str, description: str) -> Files:
    """The files with the project's own name, title, description and holder of the copyright."""
    holder = re.search(r"^Copyright .*", files["LICENSE"], flags=re.MULTILINE)
    assert holder, "LICENSE has no line of copyright"
    own = re.sub(r"(\d{4}).*", rf"\1 {author}", holder[0])
    readme, project = files["README.md"], files["pyproject.toml"]
    project = re.sub(r'^( *"(copier|benchmarks)\b.*|.*# template)\n', "", project, flags=re.M)
    project = re.sub(
        r"^description = .*", lambda _: f"description = {quoted(description)}", project, flags=re.M
    )
    new = {
        **files,
        "README.md": re.sub(r"\A# .*\n", lambda _: f"# {name}\n\n{description}.\n", readme),
        "pyproject.toml": project,
    }
    new = {renamed(file, name): renamed(text, name) for file, text in new.items()}
    new.update({f: wrapped(text) for f, text in new.items() if f.endswith(".py")})
    new["LICENSE"] = files["LICENSE"].replace(holder[0], f"{holder[0]}\n{own}")
    return new


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def format_code(folder: Path) -> bool:
    """Sorts the imports and breaks the lines for the new name, if ruff is there."""
    ruff = [shutil.which("ruff") or ""]
    if importlib.util.find_spec("ruff"):
        ruff = [sys.executable, "-m", "ruff"]
    if not ruff[0]:
        return False
    for command in STYLE:
        words = [*ruff, *command.split()[1:], "--no-cache"]
        subprocess.run(words, cwd=folder, check=False, capture_output=True)
    return True


def write_schema(folder: Path, name: str) -> bool:
    """Writes the schema of what is left, if the libraries that it describes are installed."""
    words = [sys.executable, "-m", f"{name}.launch.schema"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False)
    if done.returncode:
        (folder / "configs" / "schema.json").unlink()
    return not done.returncode


def write(folder: Path, files: dict[str, bytes]) -> None:
    for file, content in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if content.startswith(b"#!"):
            path.chmod(0o755)


def git(*words: str, cwd: Path = ROOT, check: bool = True) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("git is not installed, and the project begins with a commit") from None
    if check and done.returncode:
        raise UserError(f"git {words[0]}: {done.stderr.strip() or 'failed'}".partition("\n")[0])
    return done.stdout.strip("\n")
