"""`seqmodels new` and `copier copy`: a thin project, which works and can be updated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from functools import partial
from pathlib import Path

import pytest
import yaml
from copier import run_copy, run_update
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

from seqmodels.launch.commands.new import TEMPLATE
from tests.conftest import ROOT, Completed, result_of
from tests.in_process import run_in_process
from tests.shipped import exported

NAME = "wind_forecast"
MINE = ".amax(dim=1).tanh()"  # what its owner makes of its head


def new(folder: Path, *words: str) -> Completed:
    return run_in_process(ROOT / "src" / "seqmodels" / "__main__.py", ["new", *words], folder)


def edit_head(project: Path) -> Path:
    head = project / "src" / NAME / "heads.py"
    head.write_text(head.read_text().replace(".amax(dim=1)", MINE))
    return head


def git(*words: str, cwd: Path) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    command = ["git", *identity, *words]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def python(*words: str | Path, cwd: Path, path: str = "", of: str | Path = sys.executable) -> str:
    """What Python prints; `path` is its PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([of, *words], cwd=cwd, env=environment, capture_output=True, text=True)
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
        *(([name, "new"], f"{name}: take another name") for name in ("wind-x", "Wind", "wind_")),
        *(([name, "new"], f"{name}: take another name") for name in ("class", "json", "tests")),
        (["wind", "full"], "full is not empty: name a new folder"),
        (["wind", "full/file"], "full/file is not empty: name a new folder"),
        (["wind", "full/file/new"], "Not a directory"),
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


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("https://x.org/s.git", "git+https://x.org/s.git"),
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


def test_an_update_of_the_template_keeps_an_edited_head(tmp_path: Path) -> None:
    repository, project = tmp_path / "repository", tmp_path / "project"
    template = repository / TEMPLATE.relative_to(ROOT)
    shutil.copytree(TEMPLATE, template)
    shutil.copy(ROOT / "copier.yml", repository)
    git("init", "-q", cwd=repository)

    def release(version: str) -> None:
        git("add", "-A", cwd=repository)
        git("commit", "-qm", version, cwd=repository)
        git("tag", version, cwd=repository)

    release("v1.0.0")
    run_copy(str(repository), project, {"name": NAME}, quiet=True)
    head = edit_head(project)
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "mine")):
        git(*words, cwd=project)
    theirs = template / "src" / "{{ name }}" / "heads.py.jinja"
    theirs.write_text(theirs.read_text().replace('"""Heads', '"""Newer: heads', 1))
    (template / "tests" / "test_more.py.jinja").write_text("import {{ name }}\n")
    (template / "scripts" / "train.py").unlink()
    release("v1.1.0")

    run_update(project, defaults=True, overwrite=True, quiet=True)
    assert head.read_text().startswith('"""Newer: heads') and MINE in head.read_text()
    assert (project / "tests" / "test_more.py").read_text() == f"import {NAME}\n"
    changed = {line[3:] for line in git("status", "--porcelain", cwd=project).splitlines()}
    answers = ".copier-answers.yml"
    assert changed == {answers, f"src/{NAME}/heads.py", "scripts/train.py", "tests/test_more.py"}
    assert "_commit: v1.1.0" in (project / answers).read_text()


QUICK = ("experiment=baseline", "data.size=40", "trainer=cpu", "trainer.max_steps=3")
USE = """
from seqmodels import __version__, load_run

assert __version__ == "1.1.0"
run, newer = load_run("run"), load_run("newer")
assert run.result["config"]["seed"] == 0 and newer.result["config"]["seed"] == 7
scores = {name: value for name, value in run.result["metrics"].items() if name[:4] == "test"}
assert run.evaluate(accelerator="cpu") == scores
"""


def make_wheels(tree: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions of this package; the later one has another default."""
    for name in ("src", "configs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for version in ("1.0.0", "1.1.0"):
        monkeypatch.setenv("SETUPTOOLS_SCM_PRETEND_VERSION", version)
        [_] = WheelBuilder(str(tree)).build(directory=str(folder), versions=["standard"])
        configured = tree / "configs" / "train.yaml"
        configured.write_text(configured.read_text().replace("\nseed: 0\n", "\nseed: 7\n"))


@pytest.mark.long
def test_a_project_and_its_runs_go_on_with_a_newer_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported("Regressor")
    wheels = tmp_path / "wheels"
    make_wheels(tmp_path / "tree", wheels, monkeypatch)
    venv.create(tmp_path / "own", symlinks=True)
    [site] = (tmp_path / "own").glob("lib/*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]  # all but this package
    (site / "others.pth").write_text("\n".join(others))
    run = partial(python, cwd=tmp_path, of=tmp_path / "own" / "bin" / "python")

    def install(*words: str) -> None:
        offline = ("--no-index", "--no-deps", "--no-build-isolation", f"--find-links={wheels}")
        run("-m", "pip", "install", "-q", *offline, *words)

    project, script = tmp_path / NAME, f"{NAME}/scripts/train.py"
    install("seqmodels-template==1.0.0")
    run("-m", "seqmodels", "new", NAME)
    head = edit_head(project)
    install("-e", str(project))
    run(script, *QUICK, "folder=run")

    [line] = [x for x in (project / "README.md").read_text().splitlines() if "pip install -U" in x]
    install("-U", line.split('"')[1])
    assert "4 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    run(script, *QUICK, "folder=newer")
    run("-c", USE)
    run(script, "resume=run", "trainer.max_steps=6")
    result = result_of(tmp_path / "run")
    assert [each["packages"]["seqmodels"] for each in result["resumed"]] == ["1.1.0"]
    assert result["status"] == "completed" and result["config"]["trainer"]["max_steps"] == 6
    assert MINE in head.read_text()
