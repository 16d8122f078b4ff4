"""Fixtures for all tests. Sets one thread per process before torch reads the number of cores."""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # pytest runs a process per core

import base64
import gc
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from hatchling.builders.wheel import WheelBuilder
from hydra import compose, initialize_config_dir
from hypothesis import settings
from omegaconf import DictConfig

import tests.type_checks  # noqa: F401 (before seqmodels, whose functions it is for)
from seqmodels.launch import composed
from seqmodels.launch.composed import VERSION_BASE, prepare_hydra
from tests.in_process import EXAMPLES, WITHOUT_LOCAL, own_modules, run_in_process
from tests.kept import keep_what_libraries_give

if TYPE_CHECKING:  # slow to import, also where tests are only handed out to other processes
    from matplotlib.figure import Figure

prepare_hydra()

# the same examples in every run, however busy the machine is
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).parents[1]

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)

Completed = subprocess.CompletedProcess[str]
Script = Callable[..., Completed]
Refused = Callable[..., str]
Config = Callable[..., DictConfig]


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "write tests/golden/*.txt again, after a change that is meant to alter a training"
    parser.addoption("--write-golden", action="store_true", help=text)


def pytest_collectstart() -> None:
    """Imports what seqmodels imports, before seqmodels does.

    While jaxtyping imports seqmodels, Python looks for compiled files under another name, and so
    would compile PyTorch, Lightning and all that they import from their sources.
    """
    import lightning.pytorch  # noqa: F401

    keep_what_libraries_give()


def pytest_collection_finish() -> None:
    """What is imported by now stays, so Python need not look through it for garbage again, and for
    the rest of it less often: there is a lot of memory."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def run_script(
    folder: Path, name: str, *arguments: str, stdin: str = "", status: int = 0
) -> Completed:
    """What the fixture `script` does, in any folder: for fixtures of a module."""
    done = run_in_process(ROOT / "scripts" / name, arguments, folder, stdin)
    assert done.returncode == status, done.stderr
    return done


def result_of(run: Path) -> dict[str, Any]:
    """What a run says of itself."""
    return json.loads((run / "result.json").read_text())


def command(name: str, *arguments: str) -> list[str]:
    """The command line of a script."""
    without = WITHOUT_LOCAL if name == "train.py" else ()
    return [sys.executable, str(ROOT / "scripts" / name), *arguments, *without]


@pytest.fixture(autouse=True)
def caches_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def modules_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test imports of its own and of `examples` is forgotten after it."""
    with own_modules(tmp_path_factory.getbasetemp(), EXAMPLES):
        yield


@pytest.fixture(autouse=True, scope="session")
def skips_of_deleted_tasks() -> Iterator[None]:
    """A test that composes a task whose folder is deleted is skipped."""
    from tests.shipped import DELETED, skip_where_deleted  # slow to import, as above

    hydra_of_all_tasks = composed.hydra_of

    def hydra_of(name: str, words: Sequence[str], config_dir: str | None = None) -> Any:
        skip_where_deleted(" ".join(words))
        return hydra_of_all_tasks(name, words, config_dir)

    with pytest.MonkeyPatch.context() as patch:
        if DELETED:
            patch.setattr(composed, "hydra_of", hydra_of)
        yield


@pytest.fixture(autouse=True)
def blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are saved as one white pixel, and nobody draws which steps count, because both take
    longer than a small training, unless the test is marked `pictures`."""

    def save(figure: Figure, file: Path | BinaryIO, **_: object) -> None:
        if isinstance(file, Path):
            file.write_bytes(PIXEL)
        else:
            file.write(PIXEL)

    from matplotlib.figure import Figure as Empty

    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)
        monkeypatch.setattr("seqmodels.dataflow.steps.draw_steps", lambda *_: Empty())


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    """`config("model.head=max_pool")`: configs/train.yaml composed for a quick run in tmp_path."""
    from tests.shipped import skip_where_deleted

    with initialize_config_dir(str(ROOT / "configs"), **VERSION_BASE):

        def quick_config(*overrides: str) -> DictConfig:
            skip_where_deleted(" ".join(overrides))
            return compose(
                "train",
                [
                    f"folder={tmp_path / 'run'}",
                    "model.encoder.hidden_size=16",
                    "trainer=cpu",
                    "trainer.max_epochs=2",
                    "trainer.enable_progress_bar=false",
                    *WITHOUT_LOCAL,
                    *overrides,
                ],
            )

        yield quick_config


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """`script("train.py", "model.head=max_pool")`: run a script in tmp_path, without a new process.

    Takes `stdin=`, and `status=` if the script is to end with another exit status than 0; returns
    what `subprocess.run` does.
    """

    return partial(run_script, tmp_path)


@pytest.fixture
def refused(script: Script) -> Refused:
    """`refused("train.py", "seed=x")`: the line with which a script says what is wrong."""

    def run(name: str, *arguments: str, stdin: str = "") -> str:
        [line] = script(name, *arguments, stdin=stdin, status=2).stderr.splitlines()
        assert line.startswith("error: ")
        return line

    return run


@pytest.fixture
def process(tmp_path: Path) -> Script:
    """`process("train.py", "trainer=ddp_sim")`: as `script`, in a process of its own.

    Starts Python and imports everything again, so use it where the process is what you test.
    """
    from tests.shipped import skip_where_deleted

    def run(name: str, *arguments: str, stdin: str = "", status: int = 0) -> Completed:
        skip_where_deleted(" ".join(arguments))
        done = subprocess.run(
            command(name, *arguments),
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "COLUMNS": "120"},
        )
        assert done.returncode == status, done.stderr
        return done

    return run


@pytest.fixture
def examples_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder `examples` can be imported."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A CSV of 60 made-up texts, `good` or `bad` by one word, with commas and quotes inside."""
    path = tmp_path / "reviews.csv"
    rows = ["text,label"]
    for number in range(60):
        word, label = (("fine", "good"), ("dull", "bad"))[number % 2]
        filler = " ".join(["well,", '""so""', "and", "then"][: 1 + number % 4])
        rows.append(f'"{filler} a {word} film {"!" * (number % 3)}",{label}')
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel installs it: put this folder on the path."""
    folder = tmp_path_factory.mktemp("wheel")
    [file] = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "site")
    return folder / "site"
