"""What README.md shows is what happens, and what it lists is complete."""

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
    """What README.md says between two pieces of it."""
    assert start in README, f"README.md has no {start!r}"
    return README.partition(start)[2].partition(end)[0]


def test_examples_print_what_they_say(scratch_registry: None) -> None:
    runnable = [code for code in PYTHON if "<folder>" not in code]  # that needs a run of yours
    assert runnable
    for code in runnable:
        run(code, {})


def test_the_head_example_is_a_head(scratch_registry: None) -> None:
    [code] = [code for code in PYTHON if "class AllLayers" in code]
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
        assert torch.allclose(eval(lines[use], names), selected, atol=1e-6)


def test_every_head_is_in_the_table_with_what_it_reads() -> None:
    table = section("| `model.head=` |", "\n\n")
    rows = [row.split("|") for row in table.splitlines() if row.startswith("|")]
    for name in ALL_HEADS:
        [row] = [row for row in rows if f"`{name}`" in row[1]]
        assert row[2].strip() == ", ".join(f"`{tensor}`" for tensor in HEADS[name].reads)


@pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher:UserWarning")  # as the scripts do
def test_every_command_composes(config: Callable[..., DictConfig]) -> None:
    assert COMMANDS
    for line, command in COMMANDS.items():
        if "--help" not in line:
            config(*command.overrides)


def test_the_test_command_is_what_ci_runs() -> None:
    assert f"\n{(ROOT / '.ci' / 'test').read_text()}" in README


def test_everything_that_is_linked_exists() -> None:
    paths = re.findall(r"\]\((.*?)\)", README)
    assert paths
    for path in paths:
        assert re.match(r"https?:|#", path) or (ROOT / path).exists(), path


def test_every_example_is_linked() -> None:
    table = section("## Make it yours", "\n## ")
    for example in (ROOT / "examples").glob("*.py"):
        assert f"](examples/{example.name})" in table


def test_the_map_shows_every_folder() -> None:
    drawn = section("\n## A map\n", "\n## ")
    package = ROOT / "src" / "seqmodels"
    folders = {file.parent.name for file in package.glob("*/__init__.py")}
    assert set(re.findall(r"^[├└]── (\w+)/ ", drawn, flags=re.MULTILINE)) == folders
    assert all((ROOT / f).is_dir() for f in re.findall(r"^(\w+)/ ", drawn, flags=re.MULTILINE))
