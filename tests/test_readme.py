"""What README.md shows is what happens."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig

from seqmodels.audit import ADVICE
from seqmodels.heads import HEADS
from seqmodels.nn.encoder import RNNOutput
from tests.conftest import ROOT
from tests.pages import python_blocks, read, run, shell_lines
from tests.shipped import ALL_HEADS

README = read(ROOT / "README.md")
PYTHON = python_blocks(README)
COMMANDS = {c.line: c for c in shell_lines(README) if "scripts/train.py" in c.line}


def block(containing: str) -> str:
    [found] = [code for code in PYTHON if containing in code]
    return found


@pytest.mark.parametrize(
    "containing", ["encoder = RecurrentEncoder", "model = LanguageModel", "class Tutorial"]
)
def test_an_example_prints_what_it_says(containing: str) -> None:
    run(block(containing), {})


def test_the_head_example_is_a_head() -> None:
    names: dict[str, object] = {}
    try:
        exec(compile(block("class FirstOutput"), "README.md", "exec"), names)
        states = RNNOutput(
            output=torch.randn(2, 3, 4),
            h_n=torch.randn(1, 1, 2, 4),
            c_n=None,
            lengths=torch.tensor([3, 1]),
        )
        selected = HEADS["first_output"].select(None, states)  # type: ignore[arg-type]
        assert torch.equal(selected, states.output[:, 0])
    finally:
        HEADS.pop("first_output", None)


def test_every_head_is_in_the_table_with_what_it_reads() -> None:
    for name in ALL_HEADS:
        head = HEADS[name]
        rows = [row.split("|") for row in README.splitlines() if row.startswith("|")]
        [row] = [row for row in rows if f"`{name}`" in row[1]]
        assert row[2].strip() == ", ".join(f"`{tensor}`" for tensor in head.reads)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--help" not in line])
@pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher:UserWarning")  # as the scripts do
def test_every_command_composes(line: str, config: Callable[..., DictConfig]) -> None:
    config(*COMMANDS[line].overrides)


def test_every_finding_is_in_the_table() -> None:
    table = README[README.index("| finding |") : README.index("In your tests:")]
    assert set(re.findall(r"`(\w+_\w+)`", table)) == set(ADVICE)


def test_every_experiment_and_logger_composes(config: Callable[..., DictConfig]) -> None:
    for group in ("experiment", "logger", "debug", "trainer", "data"):
        for file in (ROOT / "configs" / group).glob("*.yaml"):
            assert config(f"{group}={file.stem}")


def test_everything_that_is_linked_exists() -> None:
    for path in [*re.findall(r"\]\((.*?)\)", README), "LICENSE"]:
        assert (ROOT / path).exists(), path


def test_every_example_is_linked() -> None:
    for example in (ROOT / "examples").glob("*.py"):
        assert f"](examples/{example.name})" in README


def test_the_map_shows_every_folder_and_the_files_to_read() -> None:
    package = ROOT / "src" / "seqmodels"
    folders = {file.parent.name for file in package.glob("*/__init__.py")}
    assert set(re.findall(r"^[├└]── (\w+)/ ", README, flags=re.MULTILINE)) == folders
    files = re.findall(r"`(\w+/\w+\.py)`", README[README.index("## A map") :])
    assert len(files) == 6
    assert all((package / file).is_file() for file in files)
