"""What README.md shows is what happens, and what it lists is complete."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.heads import HEADS
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from tests.conftest import ROOT, Config
from tests.pages import python_blocks, read, run, shell_lines
from tests.shipped import ALL_HEADS, LANGUAGE_HEADS

README = read(ROOT / "README.md")
CONTRIBUTING = read(ROOT / "CONTRIBUTING.md")
STUDIES = read(ROOT / "docs" / "studies.md")
PYTHON = python_blocks(README)
COMMANDS = {c.line: c for c in shell_lines(README) if "scripts/train.py" in c.line}


def section(start: str, end: str, page: str = README) -> str:
    """What a page says between two pieces of it."""
    assert start in page, f"the page has no {start!r}"
    return page.partition(start)[2].partition(end)[0]


def test_examples_print_what_they_say() -> None:
    runnable = [code for code in PYTHON[1:] if "<folder>" not in code]  # that needs a run of yours
    assert runnable
    for code in runnable:
        run(code, {})


def test_the_head_example_is_a_head() -> None:
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
    uses = dict(re.findall(r"^# (.*)\n\w+ = (.*)$", PYTHON[0], re.MULTILINE))
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
        mask = torch.arange(7) < lengths[:, None]
        selected = HEADS[head].select(None, encoder(inputs, lengths))  # type: ignore[arg-type]
        if head == "softmax":
            selected = selected.softmax(dim=-1)
        same = dict.fromkeys(("classify", "to_tags", "to_vocabulary"), torch.nn.Identity())
        names = {"output": output, "h_n": h_n, "mask": mask, "torch": torch, **same}
        assert torch.allclose(eval(uses[use], names), selected, atol=1e-6), use


def test_the_lines_of_pytorch_run() -> None:
    lstm = torch.nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
    names = {
        **{"torch": torch, "lstm": lstm, "x": torch.randn(3, 7, 5), "next_x": torch.randn(3, 2, 5)},
        **{"mask": torch.ones(3, 7, dtype=torch.bool), "to_vocabulary": torch.nn.Linear(8, 9)},
        **dict.fromkeys(("classify", "to_tags"), torch.nn.Identity()),
    }
    run(PYTHON[0], names)


def test_every_head_is_in_the_table_with_what_it_reads() -> None:
    table = section("| `model.head=` |", "\n\n")
    rows = [row.split("|") for row in table.splitlines() if row.startswith("|")]
    for name in ALL_HEADS:
        [row] = [row for row in rows if f"`{name}`" in row[1]]
        assert row[2].strip() == ", ".join(f"`{tensor}`" for tensor in HEADS[name].reads)


@pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher:UserWarning")  # as the scripts do
def test_every_command_composes(config: Config) -> None:
    assert COMMANDS
    for line, command in COMMANDS.items():
        if "--help" not in line:
            config(*command.overrides)


def test_the_test_command_is_what_ci_runs() -> None:
    assert f"\n{(ROOT / '.ci' / 'test').read_text()}" in README


def test_no_comment_of_the_first_box_is_cut_off() -> None:
    comments = re.findall(r"#.*", PYTHON[0])
    assert len(comments) == 8 and all(f"\n{comment}\n" in f"\n{PYTHON[0]}" for comment in comments)
    assert max(map(len, comments)) <= 40  # of a line, a telephone shows these


def test_every_example_is_linked() -> None:
    pages = "".join(map(read, (ROOT / "docs").rglob("*.md")))
    for example in (ROOT / "examples").glob("*.py"):
        assert f"../examples/{example.name})" in pages


def test_the_map_shows_every_folder() -> None:
    drawn = section("\n## A map\n", "\n## ", CONTRIBUTING)
    package = ROOT / "src" / "seqmodels"
    folders = {file.parent.name for file in package.glob("*/__init__.py")}
    assert set(re.findall(r"^[├└]── (\w+)/ ", drawn, flags=re.MULTILINE)) == folders
    assert all((ROOT / f).is_dir() for f in re.findall(r"^(\w+)/ ", drawn, flags=re.MULTILINE))


def test_the_files_to_read_first_are_there() -> None:
    files = re.findall(r"`([\w/]+\.py)`", section("Read these six files", "\n\n", CONTRIBUTING))
    assert len(files) == 6
    assert all((ROOT / "src" / "seqmodels" / file).is_file() for file in files)


def test_the_results_are_those_of_the_studies() -> None:
    numbers = re.findall(r"\d+\.\d+", section("## Results\n", "\n\n"))
    assert numbers and set(numbers) <= set(re.findall(r"\d+\.\d+", STUDIES))
