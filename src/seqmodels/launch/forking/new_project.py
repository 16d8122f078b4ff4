"""Make a project of your own from this template. Needs Python and git; nothing to install.

python scripts/new_project.py wind_forecast ../wind_forecast --without language_model
"""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from seqmodels.errors import UserError
from seqmodels.launch.forking.leaving_out import leave_out, tasks_of
from seqmodels.launch.forking.names import OLD
from seqmodels.launch.forking.template import (
    OURS,
    ROOT,
    STYLE,
    format_code,
    git,
    is_ours,
    split_binary,
    template_files,
    with_names,
    write,
    write_schema,
)
from seqmodels.program import as_started


def main() -> None:
    try:
        make(arguments())
    except (UserError, OSError) as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        sys.exit(2)


class OneLine(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: --help shows what it takes")


def arguments() -> argparse.Namespace:
    parser = OneLine(
        prog=as_started("python scripts/new_project.py").replace(" new_project", " new"),
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("name", help="of the package, such as wind_forecast")
    parser.add_argument("folder", nargs="?", help="where to make the project; new or empty")
    parser.add_argument("--in-place", action="store_true", help="turn this clone into the project")
    parser.add_argument("--without", default="", metavar="TASK,...", help="tasks to leave out")
    parser.add_argument("--author", help="who holds the copyright (git config user.name)")
    parser.add_argument("--description", help="one line, for README.md and pyproject.toml")
    parser.add_argument(  # for copier, which has a history of its own and updates what is there
        "--files-only", action="store_true", help=argparse.SUPPRESS
    )
    return parser.parse_args()


def make(chosen: argparse.Namespace) -> None:
    """Builds the whole project beside its place, and moves it there when it is complete."""
    name = chosen.name
    files = template_files()
    check_name(name, files, installed=not chosen.files_only)
    place = find_place(chosen)
    without = [task for task in chosen.without.split(",") if task]
    check_tasks(without, files)
    author = chosen.author or git("config", "user.name", cwd=Path.cwd(), check=False) or name
    description = chosen.description or "Recurrent sequence models in PyTorch Lightning and Hydra"
    texts, others = split_binary(files)
    project = with_names(leave_out(texts, without, OURS), name, author, description)
    kept = {file: content for file, content in others.items() if not is_ours(file)}

    beside = next(folder for folder in place.parents if folder.exists())
    with tempfile.TemporaryDirectory(dir=beside, prefix=f".{name}-") as folder:
        built = Path(folder) / "project"
        write(built, {**{f: t.encode() for f, t in project.items()}, **kept})
        styled = format_code(built)
        described = not without or write_schema(built, name)
        if chosen.files_only:
            shutil.copytree(built, place, dirs_exist_ok=True)
            return
        commit(built, author)
        if chosen.in_place:
            replace(place, built, Path(folder) / "before", files)
        else:
            if place.exists():
                place.rmdir()
            place.parent.mkdir(parents=True, exist_ok=True)
            built.rename(place)
    report(place, chosen, len(project) + len(kept), without, styled, described)


# what is refused


def check_name(name: str, files: dict[str, bytes], *, installed: bool) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(
            f"{name} cannot be the name of a package: take lower-case letters, digits and "
            "underscores, beginning with a letter"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UserError(f"{name} is a keyword of Python: take another name")
    folders = {file.partition("/")[0] for file in files if "/" in file}
    if OLD in name or name in folders or name in sys.stdlib_module_names:
        raise UserError(f"{name} is the name of a module already: take another name")
    imported = re.compile(rf"^\s*(?:from|import) {name}\b".encode(), re.MULTILINE)
    if any(imported.search(code) for file, code in files.items() if file.endswith(".py")):
        raise UserError(f"{name} is a package that the template uses: take another name")
    if installed and (found := importlib.util.find_spec(name)):
        where = found.origin or ", ".join(found.submodule_search_locations or ())
        raise UserError(f"{name} is installed already ({where}): take another name")


def find_place(chosen: argparse.Namespace) -> Path:
    if chosen.in_place == bool(chosen.folder):
        raise UserError("name a folder for the project, or give --in-place")
    if chosen.in_place:
        if not (ROOT / ".git").exists():
            raise UserError(f"{ROOT} is not a git clone: name a folder for the project")
        if git("status", "--porcelain"):
            raise UserError("there are changes that are not committed: commit or stash them first")
        if git("log", "--oneline", "--branches", "--not", "--remotes"):
            raise UserError(
                "there are commits that no remote has, and --in-place starts a new "
                "history: push them, or name a folder for the project"
            )
        return ROOT
    place = Path(chosen.folder).resolve()
    if chosen.files_only:
        return place
    if place == ROOT or ROOT in place.parents:
        raise UserError(
            f"{chosen.folder} lies in the template: name a folder outside, or --in-place"
        )
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError(f"{chosen.folder} is not empty: name a new folder")
    return place


def check_tasks(without: list[str], files: dict[str, bytes]) -> None:
    tasks = tasks_of({f: t.decode() for f, t in files.items() if f.endswith(".yaml")})
    default = re.search(rb"- model: (\w+)", files["configs/train.yaml"])
    for task in without:
        if task not in tasks:
            raise UserError(f"--without {task}: choose among {', '.join(sorted(tasks))}")
        if default and task == default[1].decode():
            raise UserError(f"--without {task}: configs/train.yaml and the tests begin with it")


def commit(folder: Path, author: str) -> None:
    git("init", "-q", "-b", "main", cwd=folder)
    git("add", "-A", cwd=folder)
    known = git("config", "user.email", cwd=folder, check=False)
    identity = [] if known else ["-c", f"user.name={author}", "-c", "user.email="]
    git(*identity, "commit", "-q", "--no-verify", "-m", "Start from the template", cwd=folder)


def replace(place: Path, built: Path, before: Path, files: dict[str, bytes]) -> None:
    """Puts the project in the place of the clone; what git ignores stays."""
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        moved.append((source, target))

    try:
        for file in [*files, ".git"]:
            move(place / file, before / file)
        for path in [p for p in built.rglob("*") if p.is_file() and ".git" not in p.parts]:
            move(path, place / path.relative_to(built))
        move(built / ".git", place / ".git")
    except OSError as error:
        for source, target in reversed(moved):
            target.rename(source)
        raise UserError(f"cannot write {place}: {error}") from error
    for folder in sorted({(place / f).parent for f in files}, key=lambda p: -len(p.parts)):
        while folder != place and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def report(
    place: Path,
    chosen: argparse.Namespace,
    count: int,
    without: list[str],
    styled: bool,
    described: bool,
) -> None:
    install, _, test = (place / ".ci" / "test").read_text().strip().rpartition(" && ")
    print(f"made {chosen.name} in {place}: {count} files, one commit")
    for task in without:
        print(f"without {task}: its code, configurations, tests and documentation")
    if not styled:
        print("ruff is not installed yet: the first command also formats the code for the new name")
        test = f"{' && '.join(STYLE)} && git commit -qam 'Format' && {test}"
    if not described:
        print("torch is not installed yet: the first command also writes configs/schema.json")
        schema = f"python -m {chosen.name}.launch.schema && git add configs/schema.json"
        test = f"{schema} && git commit -qm 'Add the schema' && {test}"
    print(f"\ncd {place}\n{install} && {test}\npython scripts/train.py model.head=last_hidden")


if __name__ == "__main__":
    main()
