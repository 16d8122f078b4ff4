"""What README.md says of the code is so, and what it lists is complete."""

from __future__ import annotations

import re

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.heads import HEADS
from seqmodels.nn.encoder import RecurrentEncoder
from tests.conftest import ROOT
from tests.pages import python_blocks, read, run
from tests.shipped import ALL_HEADS, LANGUAGE_HEADS

README = read(ROOT / "README.md")
FIRST, *_ = python_blocks(README)


def section(start: str) -> str:
    """What README.md says from here to an empty line."""
    assert start in README
    return README.partition(start)[2].partition("\n\n")[0]


def test_the_lines_of_pytorch_read_what_the_heads_read() -> None:
    names = {
        **{"torch": torch, "x": torch.randn(3, 7, 5), "next_x": torch.randn(3, 2, 5)},
        **{"mask": torch.ones(3, 7, dtype=torch.bool), "to_vocabulary": torch.nn.Linear(8, 9)},
        **dict.fromkeys(("classify", "to_tags"), torch.nn.Identity()),
        "lstm": torch.nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True),
    }
    run(FIRST, names)  # all of them
    uses = dict(re.findall(r"^# (.*)\n\w+ = (.*)$", FIRST, re.MULTILINE))
    inputs, lengths = torch.randn(3, 7, 5), torch.tensor([7, 4, 2])
    for use, head in (
        ("from one direction", "last_hidden"),
        ("from two directions", "bidirectional_concat"),
        ("of a long sequence", "max_pool"),
        ("a tag at every step, two directions", "every_step"),
        *[("every next token, one direction", head) for head in LANGUAGE_HEADS[:1]],
    ):
        two = HEADS[head].requires_bidirectional is not False and "one direction" not in use
        encoder = RecurrentEncoder(5, 4, num_layers=2, bidirectional=two)
        packed, (h_n, _) = encoder.rnn(pack_padded_sequence(inputs, lengths, batch_first=True))
        output, _ = pad_packed_sequence(packed, batch_first=True)
        selected = HEADS[head].select(None, encoder(inputs, lengths))  # type: ignore[arg-type]
        if head == "softmax":
            selected = selected.softmax(dim=-1)
        names |= {"output": output, "h_n": h_n, "mask": torch.arange(7) < lengths[:, None]}
        names["to_vocabulary"] = torch.nn.Identity()
        assert torch.allclose(eval(uses[use], names), selected, atol=1e-6), use


def test_every_head_is_in_the_table_with_what_it_reads() -> None:
    table = section("| `model.head=` |")
    rows = [row.split("|") for row in table.splitlines() if row.startswith("|")]
    for name in ALL_HEADS:
        [row] = [row for row in rows if f"`{name}`" in row[1]]
        assert row[2].strip() == ", ".join(f"`{tensor}`" for tensor in HEADS[name].reads)


def test_the_ranks_of_the_heads_are_those_of_the_study() -> None:
    study = read(ROOT / "docs" / "which_head.md")
    study = study.partition("## What was compared")[2].partition("\n## ")[0]
    found = dict(re.findall(r"^\| `(\w+)` \| 22 \| (\d\.\d\d) \|", study, re.MULTILINE))
    shown = re.findall(r"^\| `(\w+)` \| .* \| (\d\.\d) \|$", README, re.MULTILINE)
    assert dict(shown) == {head: f"{float(rank):.1f}" for head, rank in found.items()} != {}


def test_the_test_command_is_what_ci_runs() -> None:
    assert f"\n{(ROOT / '.ci' / 'test').read_text()}" in README


def test_every_example_is_linked() -> None:
    pages = "".join(map(read, (ROOT / "docs").rglob("*.md")))
    for example in (ROOT / "examples").glob("*.py"):
        assert f"../examples/{example.name})" in pages


def test_the_results_are_those_of_the_studies() -> None:
    numbers = re.findall(r"\d+\.\d+", section("## Results\n"))
    assert numbers and set(numbers) <= set(
        re.findall(r"\d+\.\d+", read(ROOT / "docs" / "studies.md"))
    )
