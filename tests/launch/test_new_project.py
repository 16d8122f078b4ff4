"""`seqmodels new` and `copier copy`: a thin project, which works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from copier import run_copy
from hatchling.builders.wheel import WheelBuilder

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
    assert install == "pip install -e ." and f"\n{train}\n" in (place / "README.md").read_text()
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
def test_its_tests_pass_and_its_training_runs(project: Path, tmp_path: Path) -> None:
    exported("Regressor")  # its task predicts numbers, too
    path = installed(project, tmp_path / "site", "editable")
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project, path=path)
    assert "4 passed" in done


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


def test_it_depends_on_the_package_however_that_is_installed(project: Path) -> None:
    content = tomllib.loads((project / "pyproject.toml").read_text())
    assert content["project"]["dependencies"] == ["seqmodels-template"]  # keeps an editable one


def test_with_copier_it_depends_on_the_address_of_the_template(tmp_path: Path) -> None:
    address, project = tmp_path / "template", tmp_path / "project"
    shutil.copytree(TEMPLATE, address / TEMPLATE.relative_to(ROOT))
    shutil.copy(ROOT / "copier.yml", address)
    run_copy(str(address), project, {"name": NAME}, quiet=True)
    assert (project / "src" / NAME / "heads.py").is_file()
    [needed] = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    assert needed == f"seqmodels-template @ file://{address}"
