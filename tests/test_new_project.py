"""`scripts/new_project.py`: a project of your own is whole, and only yours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, Script

NAME = "wind_forecast"
DEFAULT = "classifier"
OTHERS = sorted(
    file.stem
    for file in (ROOT / "configs" / "model").glob("*.yaml")
    if file.stem != DEFAULT and "\n  _target_:" in file.read_text()
)
WITHOUT = {"all": (), **{task: (f"--without={task}",) for task in OTHERS}}


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(cwd / "src"), **environment}
    return subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True)


def done(*command: str | Path, cwd: Path, **environment: str) -> str:
    result = run(*command, cwd=cwd, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def git(*words: str, cwd: Path) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    return done("git", *identity, *words, cwd=cwd)


def texts(project: Path) -> dict[str, str]:
    files = [path for path in project.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path.relative_to(project)): path.read_text() for path in files}


def tracked_files() -> list[str]:
    """What git tracks, or would."""
    listed = done("git", "ls-files", "-z", "-c", "-o", "--exclude-standard", cwd=ROOT)
    return [file for file in listed.split("\0")[:-1] if (ROOT / file).is_file()]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """A project with all tasks, and one without each but the default; with what was printed."""
    made = {}
    for name, options in WITHOUT.items():
        folder = tmp_path_factory.mktemp(name) / NAME
        script = ROOT / "scripts" / "new_project.py"
        printed = done(sys.executable, script, NAME, folder, "--author=Ada", *options, cwd=ROOT)
        made[name] = (folder, printed)
    return made


@pytest.fixture(params=WITHOUT)
def project(request: pytest.FixtureRequest, projects: dict[str, tuple[Path, str]]) -> Path:
    return projects[request.param][0]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the template, of what git tracks or would."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    for file in tracked_files():
        (origin / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, origin / file)
    git("init", "-q", cwd=origin)
    git("add", "-A", cwd=origin)
    git("commit", "-qm", "template", cwd=origin)
    git("tag", "v1.0.0", cwd=origin)
    git("clone", "-q", origin, clone, cwd=tmp_path)  # type: ignore[arg-type]
    return clone


# ---------------------------------------------------------------- what is made


def test_nothing_says_the_templates_name_but_the_licence(project: Path) -> None:
    files = texts(project)
    licence = files.pop("LICENSE").splitlines()
    old = re.compile("seqmodels", re.IGNORECASE)
    assert [name for name, text in files.items() if old.search(name) or old.search(text)] == []
    assert [bool(old.search(line)) for line in licence if "Copyright (c)" in line] == [True, False]
    assert re.match(r"Copyright \(c\) \d{4} Ada$", licence[3])
    assert files["README.md"].startswith(f"# {NAME}\n\nRecurrent sequence models in PyTorch")
    assert 'name = "wind-forecast"' in files["pyproject.toml"]
    assert '"wind-forecast[' in files["pyproject.toml"]


def test_what_is_the_templates_alone_stays_behind(project: Path) -> None:
    files = texts(project)
    assert not [f for f in files if re.search("benchmarks|study|older_|new_project|copier", f)]
    mentioned = re.compile(r"new_project|copier|benchmarks/|older_runs|experiment=study")
    assert [file for file, text in files.items() if mentioned.search(text)] == []


def test_it_begins_with_one_commit_of_everything(project: Path) -> None:
    assert len(git("log", "--format=%h", cwd=project).split()) == 1
    git("diff", "--quiet", "HEAD", cwd=project)
    assert set(git("ls-files", cwd=project).split()) >= {"README.md", f"src/{NAME}/batch.py"}


def test_it_prints_what_it_did_and_two_commands(projects: dict[str, tuple[Path, str]]) -> None:
    for name, (folder, printed) in projects.items():
        assert f"made {NAME} in {folder}: " in printed
        assert (f"without {name}" in printed) == (name != "all")
        assert printed.splitlines()[-2:] == [
            (ROOT / ".ci" / "test").read_text().strip(),
            "python scripts/train.py model.head=last_hidden",
        ]


def test_its_style_is_clean(project: Path) -> None:
    done(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=project)
    done(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", cwd=project)


@pytest.mark.slow
def test_it_trains_as_its_readme_says(projects: dict[str, tuple[Path, str]]) -> None:
    folder, _ = projects["all"]
    train = [sys.executable, "scripts/train.py", "model.head=last_hidden", "debug=fast"]
    assert "accuracy" in done(*train, "trainer=cpu", cwd=folder)


@pytest.mark.slow
@pytest.mark.parametrize("task", OTHERS)
def test_without_a_task_everything_that_is_left_imports(
    task: str, projects: dict[str, tuple[Path, str]]
) -> None:
    code = (
        f"import importlib, pkgutil, {NAME}\n"
        f"for module in pkgutil.walk_packages({NAME}.__path__, '{NAME}.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    done(sys.executable, "-c", code, cwd=projects[task][0])


@pytest.mark.parametrize("task", OTHERS)
def test_without_a_task_nothing_is_about_it(
    task: str, projects: dict[str, tuple[Path, str]]
) -> None:
    files = texts(projects[task][0])
    said = re.compile(task.replace("_", "[ _-]?"), re.IGNORECASE)
    about = [f for f, text in files.items() if not f.startswith("tests/") and said.search(text)]
    assert about == [] and "configs/schema.json" in files
    assert [file for file in files if said.search(file)] == []


@pytest.mark.long
def test_all_its_tests_pass_and_its_types_are_clean(project: Path) -> None:
    done(sys.executable, "-m", "pytest", "-q", cwd=project)
    done(sys.executable, "-m", "mypy", cwd=project)


def test_nothing_needs_to_be_installed(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to(shutil.which("git") or "")
    bare = [sys.executable, "-S", ROOT / "scripts" / "new_project.py"]  # without site-packages
    made = tmp_path / NAME  # a name so long that lines have to be broken
    printed = done(*bare, NAME, made, cwd=tmp_path, PATH=str(tools))
    assert "ruff is not installed yet: the first command also formats" in printed
    # what ruff then does changes no more than lines that the new name made too long or too short
    style = re.findall(r"ruff [^&]+(?= &&)", printed.splitlines()[-2])
    for command in style:
        done(sys.executable, "-m", *command.split(), "--no-cache", cwd=made)
    done(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=made)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wind-forecast", "new"], "wind-forecast cannot be the name of a package"),
        (["Wind", "new"], "Wind cannot be the name of a package"),
        (["1wind", "new"], "1wind cannot be the name of a package"),
        (["wïnd", "new"], "wïnd cannot be the name of a package"),
        (["class", "new"], "class is a keyword of Python"),
        (["match", "new"], "match is a keyword of Python"),
        (["json", "new"], "json is the name of a module"),
        (["tests", "new"], "tests is the name of a module"),
        (["seqmodels", "new"], "seqmodels is the name of a module"),
        (["torch", "new"], "torch is a package that the template uses"),
        (["pip", "new"], "pip is installed already"),
        (["wind"], "name a folder for the project, or give --in-place"),
        (["wind", "new", "--in-place"], "name a folder for the project, or give --in-place"),
        (["wind", "full"], "full is not empty: name a new folder"),
        (["wind", "full/file"], "full/file is not empty: name a new folder"),
        (["wind", str(ROOT / "new")], "lies in the template: name a folder outside"),
        (["wind", "new", "--without=langage_model"], "--without langage_model: choose among"),
        (["wind", "new", f"--without={DEFAULT}"], f"--without {DEFAULT}: configs/train.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    script: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")  # as Python does for a script
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    result = script("new_project.py", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert not (ROOT / "new").exists()


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text(
        f'#!/bin/sh\n[ "$1" = add ] && exit 1\nexec {shutil.which("git")} "$@"\n'
    )
    (tools / "git").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    script = ROOT / "scripts" / "new_project.py"
    result = run(
        sys.executable, script, "wind", tmp_path / "deep" / "wind", cwd=tmp_path, PATH=path
    )
    assert result.returncode == 2, result.stderr
    assert list(tmp_path.rglob("wind*")) == []


# ---------------------------------------------------------------- in place, and by copier


def test_a_clone_becomes_the_project_and_keeps_what_git_ignores(clone: Path) -> None:
    (clone / "runs").mkdir()
    (clone / "runs" / "mine").touch()
    command = [sys.executable, clone / "scripts" / "new_project.py", NAME, "--in-place"]
    (clone / "notes.txt").touch()
    refused = run(*command, cwd=clone)
    assert refused.stderr.startswith("error: there are changes that are not committed")
    git("add", "-A", cwd=clone)
    git("commit", "-qm", "mine", cwd=clone)
    refused = run(*command, cwd=clone)
    assert refused.stderr.startswith("error: there are commits that no remote has")
    git("reset", "-q", "--hard", "HEAD~1", cwd=clone)
    done(*command, cwd=clone)
    assert len(git("log", "--format=%h", "--all", cwd=clone).split()) == 1
    assert git("status", "--porcelain", cwd=clone) == ""
    assert (clone / "runs" / "mine").exists() and not (clone / "src" / "seqmodels").exists()
    assert not (clone / "benchmarks").exists() and not list(clone.parent.glob(".wind*"))


@pytest.fixture
def updated(clone: Path, tmp_path: Path) -> Path:
    """A project that copier made at one tag, with a head edited there, updated to the next tag."""
    copier, folder = shutil.which("copier") or "copier", tmp_path / NAME
    answers = ["--trust", "--defaults", "-d", f"name={NAME}", "-d", "author=Ada"]
    done(copier, "copy", *answers, clone, folder, cwd=tmp_path)
    head = folder / "src" / NAME / "heads" / "pooling.py"
    head.write_text(head.read_text() + "\n\nMINE = 1\n")
    git("init", "-q", cwd=folder)
    git("add", "-A", cwd=folder)
    git("commit", "-qm", "mine", cwd=folder)

    theirs = clone / "src" / "seqmodels" / "heads" / "pooling.py"
    theirs.write_text(theirs.read_text().replace('"""', '"""Newer seqmodels. ', 1))
    (clone / "configs" / "experiment" / "newer.yaml").write_text("# @package _global_\nseed: 1\n")
    git("rm", "-q", "CONTRIBUTING.md", cwd=clone)
    git("add", "-A", cwd=clone)
    git("commit", "-qm", "newer", cwd=clone)
    git("tag", "v1.1.0", cwd=clone)
    done(copier, "update", "--trust", "--defaults", cwd=folder)
    return folder


@pytest.mark.long
def test_copier_brings_a_project_up_to_date(updated: Path) -> None:
    head = (updated / "src" / NAME / "heads" / "pooling.py").read_text()
    assert head.startswith(f'"""Newer {NAME}. ') and head.endswith("\n\nMINE = 1\n")
    assert (updated / "configs" / "experiment" / "newer.yaml").exists()
    assert not (updated / "CONTRIBUTING.md").exists()
    changed = git("status", "--porcelain", cwd=updated).splitlines()
    assert len(changed) == 4, changed  # these three files, and copier's answers


@pytest.mark.long
def test_all_tests_pass_after_an_update(updated: Path) -> None:
    done(sys.executable, "-m", "pytest", "-q", cwd=updated)


# ---------------------------------------------------------------- from the wheel


def test_the_wheel_brings_the_template(wheel: Path) -> None:
    with zipfile.ZipFile(wheel / "seqmodels" / "template.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert files == {file: (ROOT / file).read_bytes() for file in tracked_files()}


@pytest.mark.slow
def test_the_command_makes_the_same_project(
    wheel: Path, tmp_path: Path, projects: dict[str, tuple[Path, str]]
) -> None:
    made = tmp_path / NAME
    command = [sys.executable, "-m", "seqmodels", "new", NAME, made, "--author=Ada"]
    done(*command, cwd=tmp_path, PYTHONPATH=str(wheel))
    tree = ("rev-parse", "HEAD^{tree}")  # of all that git tracks
    assert git(*tree, cwd=made) == git(*tree, cwd=projects["all"][0])
