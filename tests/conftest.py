"""Fixtures for all tests. Sets one thread per process before torch reads the number of cores."""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # pytest runs a process per core

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from playwright.sync_api import Browser, sync_playwright

from seqmodels.launch.hydra_setup import register_resolvers
from tests.in_process import WITHOUT_LOCAL, run_in_process

register_resolvers()

ROOT = Path(__file__).parents[1]

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")

Script = Callable[..., subprocess.CompletedProcess[str]]


def command(name: str, *arguments: str) -> list[str]:
    """The command line of a script."""
    without = WITHOUT_LOCAL if name == "train.py" else ()
    return [sys.executable, str(ROOT / "scripts" / name), *arguments, *without]


@pytest.fixture(autouse=True)
def caches_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Callable[..., DictConfig]]:
    """`config("model.head=max_pool")`: configs/train.yaml composed for a quick run in tmp_path."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):

        def composed(*overrides: str) -> DictConfig:
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

        yield composed


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """`script("train.py", "model.head=max_pool")`: run a script in tmp_path, without a new process.

    Takes `stdin=` and returns what `subprocess.run` does.
    """

    def run(name: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run_in_process(ROOT / "scripts" / name, arguments, tmp_path, stdin)

    return run


@pytest.fixture
def process(tmp_path: Path) -> Script:
    """`process("train.py", "trainer=ddp_sim")`: as `script`, in a process of its own.

    Starts Python and imports everything again, so use it where the process is what you test.
    """

    def run(name: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(name, *arguments),
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "COLUMNS": "120"},
        )

    return run


@pytest.fixture
def scratch_registry() -> Iterator[None]:
    """Heads that a test defines are forgotten after it."""
    from seqmodels.heads import HEADS  # not above, where pytest does not check its types yet

    before = dict(HEADS)
    yield
    HEADS.clear()
    HEADS.update(before)


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
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(CHROMIUMS)})")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
