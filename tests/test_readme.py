"""What README.md shows is what happens, and what it lists is complete.

Each test is about something that README.md has: a README of your own needs none of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.heads import HEADS
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from tests.conftest import ROOT
from tests.pages import python_blocks, read, run, shell_lines
from tests.shipped import ALL_HEADS

README = read(ROOT / "README.md")
PYTHON = python_blocks(README)
COMMANDS = {c.line: c for c in shell_lines(README) if "scripts/train.py" in c.line}


def section(start: str, end: str) -> str:
    """What README.md says between two pieces of it; empty: it has no such piece."""
    return README.partition(start)[2].partition(end)[0]


def test_examples_print_what_they_say(scratch_registry: None) -> None:
    for code in PYTHON:
        if "<folder>" not in code:  # that needs a run of yours
            run(code, {})


def test_the_head_example_is_a_head(scratch_registry: None) -> None:
    for code in PYTHON:
        if "class AllLayers" not in code:
            continue
        exec(compile(code, "README.md", "exec"), {})
        states = RNNOutput(
            output=torch.randn(2, 3, 4),
            h_n=torch.randn(3, 1, 2, 4),
            c_n=None,
            lengths=torch.tensor([3, 1]),
        )
        selected = HEADS["all_layers"].select(None, states)  # type: ignore[arg-type]
        assert torch.equal(selected, torch.cat(list(states.h_n[:, 0]), dim=1))


def test_the_lines_of_pytorch_read_what_the_heads_read() -> None:
    table = section("| you build |", "\n\n")
    lines = dict(re.findall(r"^\| (.*?) \| .*`([^`]+)` \|$", table, flags=re.MULTILINE))
    for use, head in (
        ("a classifier, one direction", "last_hidden"),
        ("a classifier, two directions", "bidirectional_concat"),
        ("a classifier of long sequences", "max_pool"),
    ):
        encoder = RecurrentEncoder(5, 4, num_layers=2, bidirectional=head != "last_hidden")
        inputs, lengths = torch.randn(3, 7, 5), torch.tensor([7, 4, 2])
        mask = torch.arange(7) < lengths[:, None]
        packed, (h_n, _) = encoder.rnn(pack_padded_sequence(inputs, lengths, batch_first=True))
        output, _ = pad_packed_sequence(packed, batch_first=True)
        selected = HEADS[head].select(None, encoder(inputs, lengths))  # type: ignore[arg-type]
        names = {"output": output, "h_n": h_n, "mask": mask, "torch": torch}
        assert not table or torch.allclose(eval(lines[use], names), selected, atol=1e-6)


def test_every_head_is_in_the_table_with_what_it_reads() -> None:
    table = section("| `model.head=` |", "\n\n")
    rows = [row.split("|") for row in table.splitlines() if row.startswith("|")]
    for name in ALL_HEADS if table else ():
        [row] = [row for row in rows if f"`{name}`" in row[1]]
        assert row[2].strip() == ", ".join(f"`{tensor}`" for tensor in HEADS[name].reads)


@pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher:UserWarning")  # as the scripts do
def test_every_command_composes(config: Callable[..., DictConfig]) -> None:
    for line, command in COMMANDS.items():
        if "--help" not in line:
            config(*command.overrides)


def test_every_experiment_and_logger_composes(config: Callable[..., DictConfig]) -> None:
    for group in ("experiment", "logger", "debug", "trainer", "data"):
        for file in (ROOT / "configs" / group).glob("*.yaml"):
            assert config(f"{group}={file.stem}")


def test_everything_that_is_linked_exists() -> None:
    for path in re.findall(r"\]\((.*?)\)", README):
        assert re.match(r"https?:|#", path) or (ROOT / path).exists(), path


def test_every_example_is_linked() -> None:
    table = section("## Make it yours", "\n## ")
    for example in (ROOT / "examples").glob("*.py") if table else ():
        assert f"](examples/{example.name})" in README


def test_the_map_shows_every_folder() -> None:
    if "\n## A map\n" not in README:
        return
    package = ROOT / "src" / "seqmodels"
    folders = {file.parent.name for file in package.glob("*/__init__.py")}
    assert set(re.findall(r"^[├└]── (\w+)/ ", README, flags=re.MULTILINE)) == folders
    assert all((ROOT / f).is_dir() for f in re.findall(r"^(\w+)/ ", README, flags=re.MULTILINE))
