"""What README.md shows is what happens."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from seqmodels.audit import ADVICE
from seqmodels.heads import HEADS
from seqmodels.nn.encoder import RNNOutput
from tests.conftest import ROOT
from tests.shipped import ALL_HEADS

README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.split("  #")[0].replace("<folder>", "folder")
    for line in README.splitlines()
    if line.startswith("python scripts/train.py")
]


def block(containing: str) -> str:
    [found] = [code for code in PYTHON if containing in code]
    return found


@pytest.mark.parametrize(
    "containing", ["encoder = RecurrentEncoder", "model = LanguageModel", "class Tutorial"]
)
def test_an_example_prints_what_it_says(
    containing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = block(containing)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", code)


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


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str, config: Callable[..., DictConfig]) -> None:
    overrides = [word for word in shlex.split(command)[2:] if not word.startswith("-")]
    config(*(o if "-m" not in command else o.split(",")[0] for o in overrides))


def test_every_finding_is_in_the_table() -> None:
    table = README[README.index("| finding |") : README.index("In your tests:")]
    assert set(re.findall(r"`(\w+_\w+)`", table)) == set(ADVICE)


def test_every_experiment_and_logger_composes(config: Callable[..., DictConfig]) -> None:
    for group in ("experiment", "logger", "debug", "trainer", "data"):
        for file in (ROOT / "configs" / group).glob("*.yaml"):
            assert config(f"{group}={file.stem}")


def test_the_picture_is_there() -> None:
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file()
    assert Path(ROOT / "LICENSE").is_file()
