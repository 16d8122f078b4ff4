"""`seqmodels new` and `copier copy`: a thin project, which works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import run_copy
from hatchling.builders.wheel import WheelBuilder

from seqmodels import installation
from seqmodels.launch.commands.new import TEMPLATE
from tests.conftest import ROOT, Completed
from tests.in_process import run_in_process
from tests.shipped import exported

NAME = "wind_forecast"


def new(folder: Path, *words: str) -> Completed:
    return run_in_process(ROOT / "src" / "seqmodels" / "__main__.py", ["new", *words], folder)


def python(*words: str, cwd: Path, path: str = "") -> str:
    """What Python prints; `path` is its PYTHONPATH."""
    command, environment = [sys.executable, *words], {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(project: Path, site: Path, version: str) -> str:
    """The PYTHONPATH that a project is found on, as pip installs it: `editable` or `standard`."""
    [wheel] = WheelBuilder(str(project)).build(directory=str(site), versions=[version])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    paths = [site.read_text().strip() for site in site.glob("*.pth")]
    return os.pathsep.join([str(site), *paths, str(ROOT / "src")])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new one, which no test changes."""
    place = tmp_path_factory.mktemp("new") / NAME
    done = new(place.parent, NAME)
    first, *_, install, train = done.stdout.splitlines()
    assert first.startswith(f"made {NAME} in {place}: 14 files")
    assert install == "pip install --no-deps -e ."
    assert f"\n{train}\n" in (place / "README.md").read_text()
    return place


def test_it_is_about_15_files_and_300_lines_of_clean_style(project: Path) -> None:
    files = [path for path in project.rglob("*") if path.is_file()]
    assert 12 <= len(files) <= 17
    assert sum(len(file.read_text().splitlines()) for file in files) <= 300
    assert not [file for file in files if "{{" in file.read_text() + str(file)]
    for words in (("check",), ("format", "--check")):
        ruff = ["-m", "ruff", *words, "--no-cache", "--line-length=100", "."]
        python(*ruff, cwd=project)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-k", "not sweep"), "3 passed"),
        pytest.param((), "4 passed", marks=pytest.mark.long),
    ],
)
def test_its_tests_pass_and_its_training_runs(
    project: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    exported("Regressor")  # its task predicts numbers, too
    path = installed(project, tmp_path / "site", "editable")
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *words, cwd=project, path=path)
    assert said in done


def test_its_wheel_brings_its_configuration(project: Path, tmp_path: Path) -> None:
    path = installed(project, tmp_path / "site", "standard")
    code = "from seqmodels.plugins import *; print(project_modules(), *project_configs())"
    configs = tmp_path / "site" / NAME / "configs"
    assert python("-c", code, cwd=tmp_path, path=path) == f"('{NAME}',) {configs}\n"
    assert (configs / "experiment" / "baseline.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *(([name, "new"], f"{name}: take another name") for name in ("wind-x", "class", "json")),
        (["wind", "full"], "full is not empty: name a new folder"),
        ([], "name the package"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    done = new(tmp_path, *words)
    assert done.returncode == 2 and sorted(tmp_path.rglob("*")) == before
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


# ---------------------------------------------------------------- the engine below it


COMMIT = "0123456789abcdef0123456789abcdef01234567"
PLACE = "https://example.com/owner/name.git"


def git(*words: str, folder: Path) -> str:
    name = ("-c", "user.name=someone", "-c", "user.email=some@one")
    command = ["git", *name, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path) -> str:
    """Makes a repository of what is in a folder, with a remote `origin`; returns the commit."""
    git("init", "-q", "-b", "main", folder=folder)
    git("add", "-A", folder=folder)
    git("commit", "-q", "--allow-empty", "-m", "first", folder=folder)
    git("remote", "add", "origin", PLACE, folder=folder)
    return git("rev-parse", "HEAD", folder=folder)


def dependency(project: Path) -> str:
    content = tomllib.loads((project / "pyproject.toml").read_text())
    [needed] = content["project"]["dependencies"]
    return str(needed)


@pytest.mark.parametrize(
    ("remote", "place"),
    [
        ("https://someone:secret@example.com:8443/owner/name", "example.com:8443/owner/name"),
        ("https://token@example.com/owner/name.git", "example.com/owner/name.git"),
        ("https://someone:sec/ret@example.com/owner/name.git", None),
        ("https://example.com/owner/name.git?token=secret", None),
        ("git@example.com:owner/name.git", "example.com/owner/name.git"),
        ("ssh://git@example.com/owner/name.git", "example.com/owner/name.git"),
        ("ssh://git@example.com:2222/owner/name.git", None),  # which has no known web address
        ("ssh://someone:secret@example.com/owner/name.git", None),
        ("/somewhere/name", None),
        ("file:///somewhere/name", None),
    ],
)
def test_in_a_clone_it_depends_on_the_commit_of_its_remote_without_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: str, place: str | None
) -> None:
    old = repository(tmp_path)
    git("remote", "set-url", "origin", remote, folder=tmp_path)
    git("update-ref", "refs/remotes/origin/main", old, folder=tmp_path)
    git("commit", "-q", "--allow-empty", "-m", "second", folder=tmp_path)
    monkeypatch.setattr(installation, "CLONE", tmp_path)
    assert installation.address() is None  # nobody else has this commit
    commit = git("rev-parse", "HEAD", folder=tmp_path)
    git("update-ref", "refs/remotes/origin/main", commit, folder=tmp_path)
    assert installation.address() == (f"git+https://{place}@{commit}" if place else None)


@pytest.mark.parametrize(
    ("noted", "found"),
    [
        (
            {"url": PLACE, "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"git+{PLACE}@{COMMIT}",
        ),
        (
            {"url": "https://${TOKEN}@example.com/s-0.2-py3-none-any.whl", "archive_info": {}},
            "https://example.com/s-0.2-py3-none-any.whl",
        ),
        ({"url": "file:///somewhere/s-0.2-py3-none-any.whl", "archive_info": {}}, None),
        ({"url": "file:///somewhere/name", "dir_info": {"editable": True}}, None),
        (None, None),  # from an index, as pip installs a bare name
    ],
)
def test_without_a_clone_it_depends_on_what_pip_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: Any, found: str | None
) -> None:
    made = tmp_path / "seqmodels_template-0.2.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Name: seqmodels-template\nVersion: 0.2\n")
    if noted:
        (made / "direct_url.json").write_text(json.dumps(noted))
    monkeypatch.setattr(installation, "CLONE", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert installation.address() == found


def test_with_an_address_the_project_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.launch.commands.new.address", lambda: f"git+{PLACE}@{COMMIT}")
    done = new(tmp_path, NAME)
    needed = f"seqmodels-template @ git+{PLACE}@{COMMIT}"
    assert dependency(tmp_path / NAME) == needed and needed in done.stdout
    assert "has no address" not in done.stdout + (tmp_path / NAME / "README.md").read_text()
    assert checked(tmp_path / NAME) == (0, "")


def test_without_one_a_line_says_what_to_write_and_the_workflow_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.launch.commands.new.address", lambda: None)
    done = new(tmp_path, NAME)
    [line] = [line for line in done.stdout.splitlines() if "has no address" in line]
    readme = (tmp_path / NAME / "README.md").read_text().replace("`", "")
    assert f"\n{line}\n" in readme
    code, output = checked(tmp_path / NAME)
    assert code == 1 and output.splitlines()[-1] == f"::error::{line}"
    declared = tmp_path / NAME / "pyproject.toml"
    declared.write_text(declared.read_text().replace("-template", "-template[search]"))
    assert checked(tmp_path / NAME)[0] == 1


def checked(project: Path) -> tuple[int, str]:
    """Status and output of the first command of a project's workflow, which installs nothing."""
    workflow = yaml.safe_load((project / ".github" / "workflows" / "ci.yml").read_text())
    first, install, _ = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert install.startswith("pip install")
    done = subprocess.run(["bash", "-e", "-c", first], cwd=project, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_with_copier_it_depends_on_the_address_of_the_template(tmp_path: Path) -> None:
    address, project = tmp_path / "template", tmp_path / "project"
    shutil.copytree(TEMPLATE, address / TEMPLATE.relative_to(ROOT))
    shutil.copy(ROOT / "copier.yml", address)
    run_copy(str(address), project, {"name": NAME}, quiet=True)
    assert (project / "src" / NAME / "heads.py").is_file()
    assert dependency(project) == f"seqmodels-template @ file://{address}"


def test_with_copier_no_password_of_the_address_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, project = tmp_path / "template", tmp_path / "project"
    shutil.copytree(TEMPLATE, source / TEMPLATE.relative_to(ROOT))
    shutil.copy(ROOT / "copier.yml", source)
    repository(source)
    secret = PLACE.replace("https://", "https://someone:secret@")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")  # git takes the folder for the address
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{source}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", secret)
    words = ["copy", "--data", f"name={NAME}", "--vcs-ref", "HEAD", secret, str(project)]
    python("-m", "copier", *words, cwd=tmp_path)
    assert dependency(project) == f"seqmodels-template @ git+{PLACE}"
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["_src_path"] == PLACE and answers["_commit"]
    assert not any("secret" in file.read_text() for file in project.rglob("*") if file.is_file())
