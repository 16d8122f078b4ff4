"""`seqmodels new` and `copier copy`: a thin project, which works and can be updated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from copier import run_copy, run_update
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

from seqmodels.launch.commands.new import TEMPLATE
from tests.conftest import ROOT
from tests.in_process import run_in_process

NAME = "wind_forecast"
COMMAND = ROOT / "src" / "seqmodels" / "__main__.py"


def new(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_in_process(COMMAND, ["new", *words], folder)


def git(*words: str, cwd: Path) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    command = ["git", *identity, *words]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    done = new(tmp_path, NAME)
    assert done.returncode == 0, done.stderr
    return tmp_path / NAME


# ---------------------------------------------------------------- what is made


def test_it_is_about_15_files_and_300_lines(project: Path) -> None:
    files = [path for path in project.rglob("*") if path.is_file()]
    assert 12 <= len(files) <= 17
    assert sum(len(file.read_text().splitlines()) for file in files) <= 300
    assert not [file for file in files if "{{" in file.read_text() + str(file)]


def test_it_says_how_to_begin(tmp_path: Path) -> None:
    done = new(tmp_path, NAME, "elsewhere")
    first, *_, install, train = done.stdout.splitlines()
    assert first.startswith(f"made {NAME} in {tmp_path / 'elsewhere'}: 14 files")
    readme = (tmp_path / "elsewhere" / "README.md").read_text()
    assert install == "pip install -e ." and f"\n{train}\n" in readme


def test_its_style_is_clean(project: Path) -> None:
    for words in (("check",), ("format", "--check")):
        ruff = [sys.executable, "-m", "ruff", *words, "--no-cache", "--line-length=100", "."]
        subprocess.run(ruff, cwd=project, check=True)


def installed(project: Path, site: Path, version: str) -> str:
    """The PYTHONPATH that a project is found on, as pip installs it: `editable` or `standard`."""
    [wheel] = WheelBuilder(str(project)).build(directory=str(site), versions=[version])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    paths = [site.read_text().strip() for site in site.glob("*.pth")]
    return os.pathsep.join([str(site), *paths, str(ROOT / "src")])


@pytest.mark.slow
def test_its_tests_pass_and_its_training_runs(project: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": installed(project, tmp_path / "site", "editable")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr


def test_its_wheel_brings_its_configuration(project: Path, tmp_path: Path) -> None:
    path = installed(project, tmp_path / "site", "standard")
    code = "from seqmodels.plugins import *; print(project_modules(), *project_configs())"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    configs = tmp_path / "site" / NAME / "configs"
    assert printed == f"('{NAME}',) {configs}\n"
    assert (configs / "experiment" / "baseline.yaml").is_file()


def test_our_wheel_brings_the_template(wheel: Path) -> None:
    def listed(folder: Path) -> dict[str, bytes]:
        paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    assert listed(wheel / "seqmodels" / "template") == listed(TEMPLATE)


# ---------------------------------------------------------------- what it depends on


def test_it_depends_on_the_package_however_that_is_installed(project: Path) -> None:
    content = tomllib.loads((project / "pyproject.toml").read_text())
    assert content["project"]["dependencies"] == ["seqmodels-template"]


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("https://x.org/s.git", "git+https://x.org/s.git"),
        ("git+https://x.org/s", "git+https://x.org/s"),
        ("gh:us/s", "git+https://github.com/us/s"),
        ("git@x.org:us/s.git", "git+ssh://git@x.org/us/s.git"),
        ("/a/s", "file:///a/s"),
    ],
)
def test_with_copier_it_depends_on_the_address_of_the_template(address: str, url: str) -> None:
    from jinja2.sandbox import SandboxedEnvironment

    question = yaml.safe_load((ROOT / "copier.yml").read_text())["dependency"]
    filters = ["jinja2_ansible_filters.AnsibleCoreFiltersExtension"]  # which copier adds
    template = SandboxedEnvironment(extensions=filters).from_string(question["default"])
    made = Requirement(template.render(_copier_answers={"_src_path": address}))
    assert (made.name, made.url) == ("seqmodels-template", url)


# ---------------------------------------------------------------- updates


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The template in a repository, at its first version."""
    place = tmp_path / "repository"
    shutil.copytree(TEMPLATE, place / TEMPLATE.relative_to(ROOT))
    shutil.copy(ROOT / "copier.yml", place)
    git("init", "-q", cwd=place)
    git("add", "-A", cwd=place)
    git("commit", "-qm", "first", cwd=place)
    git("tag", "v1.0.0", cwd=place)
    return place


def test_an_update_keeps_an_edited_head(repository: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    run_copy(str(repository), project, {"name": NAME}, quiet=True)
    head = project / "src" / NAME / "heads.py"
    head.write_text(head.read_text().replace(".amax(dim=1)", ".amax(dim=1).tanh()"))
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "mine")):
        git(*words, cwd=project)

    template = repository / TEMPLATE.relative_to(ROOT)
    theirs = template / "src" / "{{ name }}" / "heads.py.jinja"
    theirs.write_text(theirs.read_text().replace('"""Heads', '"""Newer: heads', 1))
    (template / "tests" / "test_more.py.jinja").write_text("import {{ name }}\n")
    (template / "scripts" / "train.py").unlink()
    git("add", "-A", cwd=repository)
    git("commit", "-qm", "newer", cwd=repository)
    git("tag", "v1.1.0", cwd=repository)

    run_update(project, defaults=True, overwrite=True, quiet=True)
    text = head.read_text()
    assert text.startswith('"""Newer: heads') and ".amax(dim=1).tanh()" in text
    assert (project / "tests" / "test_more.py").read_text() == f"import {NAME}\n"
    changed = {line[3:] for line in git("status", "--porcelain", cwd=project).splitlines()}
    answers = ".copier-answers.yml"
    assert changed == {answers, f"src/{NAME}/heads.py", "scripts/train.py", "tests/test_more.py"}
    assert "_commit: v1.1.0" in (project / answers).read_text()


# ---------------------------------------------------------------- the engine of one's own


def test_a_head_beside_ours_is_found(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "template")
    copied = shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored) / "seqmodels"
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    text = "from seqmodels import Head\n\nclass Mine(Head, name='mine'):\n    reads = ('h_n',)\n"
    (copied / "heads" / "mine.py").write_text(text)
    code = "from seqmodels.heads import find_head; print(find_head('mine').__module__)"
    environment = {**os.environ, "PYTHONPATH": str(copied.parent)}
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert printed.stdout == "seqmodels.heads.mine\n"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wind-forecast", "new"], "wind-forecast: take another name"),
        (["Wind", "new"], "Wind: take another name"),
        (["1wind", "new"], "1wind: take another name"),
        (["wind_", "new"], "wind_: take another name"),
        (["class", "new"], "class: take another name"),
        (["json", "new"], "json: take another name"),
        (["tests", "new"], "tests: take another name"),
        (["seqmodels", "new"], "seqmodels: take another name"),
        (["wind", "full"], "full is not empty: name a new folder"),
        (["full"], "full is not empty: name a new folder"),
        (["wind", "full/file"], "full/file is not empty: name a new folder"),
        (["wind", "full/file/new"], "Not a directory"),
        (["wind", "new", "--without=tagger"], "cannot read --without=tagger"),
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
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
