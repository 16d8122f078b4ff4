"""Make a project of your own from this template. Needs Python and git; nothing to install.

python scripts/new_project.py wind_forecast ../wind_forecast --without language_model
"""

import argparse
import importlib.util
import keyword
import os
import re
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from forking.leaving_out import Files, leave_out, tasks_of
from forking.names import OLD, renamed, wrapped

ROOT = Path(__file__).resolve().parents[1]
OURS = (  # about the template itself: of no use in a project made from it
    "benchmarks/*",
    "studies/*",
    "docs/*.md",
    "docs/*.ipynb",
    "docs/*.css",
    "docs/api/*",
    "docs/tasks/*",
    "zensical.toml",
    ".ci/docs",
    ".github/workflows/pages.yml",
    "tests/test_docs.py",
    "configs/experiment/study_*.yaml",
    "scripts/new_project.py",
    "scripts/forking/*",
    "tests/test_new_project.py",
    "tests/test_leaving_out.py",
    "tests/test_soak.py",
    "tests/test_older_runs.py",
    "tests/older_runs/*",
    "copier.yml",
    ".copier/*",
    "CHANGELOG.md",
    "CITATION.cff",
)
STYLE = (  # sorts imports, breaks lines, and lets strings be that a longer name made too long
    "ruff check --fix -q .",
    "ruff format -q .",
    "ruff check --add-noqa --select E501 -q .",
)


class RefusedError(Exception):
    """Something to change on the command line; the message says what."""


def main() -> None:
    try:
        make(arguments())
    except RefusedError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        sys.exit(2)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    kept = {renamed(file, name): content for file, content in others.items() if not is_ours(file)}

    beside = next(folder for folder in place.parents if folder.exists())
    with tempfile.TemporaryDirectory(dir=beside, prefix=f".{name}-") as folder:
        built = Path(folder) / "project"
        for file, content in {**{f: t.encode() for f, t in project.items()}, **kept}.items():
            path = built / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if (source := ROOT / file.replace(name, OLD)).is_file():
                shutil.copymode(source, path)
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
        raise RefusedError(
            f"{name} cannot be the name of a package: take lower-case letters, digits and "
            "underscores, beginning with a letter"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise RefusedError(f"{name} is a keyword of Python: take another name")
    folders = {file.partition("/")[0] for file in files if "/" in file}
    if OLD in name or name in folders or name in sys.stdlib_module_names:
        raise RefusedError(f"{name} is the name of a module already: take another name")
    imported = re.compile(rf"^\s*(?:from|import) {name}\b".encode(), re.MULTILINE)
    if any(imported.search(code) for file, code in files.items() if file.endswith(".py")):
        raise RefusedError(f"{name} is a package that the template uses: take another name")
    if installed and (found := importlib.util.find_spec(name)):
        where = found.origin or ", ".join(found.submodule_search_locations or ())
        raise RefusedError(f"{name} is installed already ({where}): take another name")


def find_place(chosen: argparse.Namespace) -> Path:
    if chosen.in_place == bool(chosen.folder):
        raise RefusedError("name a folder for the project, or give --in-place")
    if chosen.in_place:
        if not (ROOT / ".git").exists():
            raise RefusedError(f"{ROOT} is not a git clone: name a folder for the project")
        if git("status", "--porcelain"):
            raise RefusedError(
                "there are changes that are not committed: commit or stash them first"
            )
        if git("log", "--oneline", "--branches", "--not", "--remotes"):
            raise RefusedError(
                "there are commits that no remote has, and --in-place starts a new "
                "history: push them, or name a folder for the project"
            )
        return ROOT
    place = Path(chosen.folder).resolve()
    if chosen.files_only:
        return place
    if place == ROOT or ROOT in place.parents:
        raise RefusedError(
            f"{chosen.folder} lies in the template: name a folder outside, or --in-place"
        )
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise RefusedError(f"{chosen.folder} is not empty: name a new folder")
    return place


def check_tasks(without: list[str], files: dict[str, bytes]) -> None:
    tasks = tasks_of({f: t.decode() for f, t in files.items() if f.endswith(".yaml")})
    default = re.search(rb"- model: (\w+)", files["configs/train.yaml"])
    for task in without:
        if task not in tasks:
            raise RefusedError(f"--without {task}: choose among {', '.join(sorted(tasks))}")
        if default and task == default[1].decode():
            raise RefusedError(f"--without {task}: configs/train.yaml and the tests begin with it")


# the files


def template_files() -> dict[str, bytes]:
    """What git tracks; without a history, what it would."""
    if (ROOT / ".git").exists():
        listed = git("ls-files", "-z")
    else:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["git", "init", "-q", "--bare", folder], check=True)
            listed = git(
                f"--git-dir={folder}",
                f"--work-tree={ROOT}",
                "ls-files",
                "-z",
                "-o",
                "--exclude-standard",
            )
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
    project = re.sub(r'^ *"(copier|benchmarks)\b.*\n', "", project, flags=re.MULTILINE)
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
        raise RefusedError(f"cannot write {place}: {error}") from error
    for folder in sorted({(place / f).parent for f in files}, key=lambda p: -len(p.parts)):
        while folder != place and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def git(*words: str, cwd: Path = ROOT, check: bool = True) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError:
        raise RefusedError("git is not installed, and the project begins with a commit") from None
    if check and done.returncode:
        raise RefusedError(f"git {words[0]}: {done.stderr.strip() or 'failed'}".partition("\n")[0])
    return done.stdout.strip("\n")


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
