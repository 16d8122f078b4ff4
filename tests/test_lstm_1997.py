"""`examples/lstm_1997`: sequences as the paper has them, and a study that can fail."""

from __future__ import annotations

import importlib
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.pages import read

FOLDER = ROOT / "examples" / "lstm_1997"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("study")


def sequences(study: ModuleType, name: str, size: int):
    batch, again = (study.TASKS[name].make(np.random.default_rng(0), size) for _ in range(2))
    assert torch.equal(batch.inputs, again.inputs)
    return batch


def texts_of(batch, alphabet: str) -> Iterator[tuple[str, list[set[str]]]]:
    """Each text, and which symbols may come next at each step."""
    for inputs, length, targets, possible in zip(*batch):
        assert (targets[length:] == -100).all() and not inputs[length:].any()
        text = "".join(alphabet[code] for code in inputs[:length].argmax(1))
        assert text[1:] == "".join(alphabet[code] for code in targets[: length - 1])
        steps = [{s for s, yes in zip(alphabet, step) if yes} for step in possible[:length]]
        yield text + alphabet[targets[length - 1]], steps


def test_reber_strings_are_of_the_grammar(study: ModuleType) -> None:
    inner = "B(?:(?:TS*X|PT*VP)(?:XT*VP)*(?:S|XT*VV)|PT*VV)E"  # written from its graph, by hand
    made, seen = [*texts_of(sequences(study, "reber", 3000), "BTSXPVE")], defaultdict(set)
    for text, _ in made:
        assert re.fullmatch(rf"B(?:T{inner}T|P{inner}P)E", text)
        for step in range(1, len(text)):
            seen[text[:step]].add(text[step])
    for text, possible in made[:300]:
        for step, symbols in enumerate(possible[:6], 1):  # of these, there are enough to see all
            assert seen[text[:step]] == symbols


@pytest.mark.parametrize(("name", "alphabet"), [("a_n_b_n", "#ab"), ("dyck_1", "#()")])
def test_texts_to_count_end_where_they_may(study: ModuleType, name: str, alphabet: str) -> None:
    task, (_, opened, closed), dyck = study.TASKS[name], alphabet, name == "dyck_1"
    most = 49 if dyck else 20
    for make, least in ((task.make, 0), (task.longer, most + 1)):
        for text, possible in texts_of(make(np.random.default_rng(0), 300), alphabet):
            assert least <= len(text) - 2 <= least + most
            for step, symbols in enumerate(possible, 1):
                depth = text[:step].count(opened) - text[:step].count(closed)
                end, more = depth == 0 and (dyck or step > 1), dyck or closed not in text[:step]
                may = {opened: more, closed: depth > 0, "#": end}
                assert text[step] in symbols == {symbol for symbol, yes in may.items() if yes}
            assert depth == 0


def test_a_long_lag_ends_as_it_begins(study: ModuleType) -> None:
    inputs, lengths, targets, _ = sequences(study, "lag", 40)
    symbols = torch.cat([inputs.argmax(2), targets[:, -1:]], dim=1)
    assert torch.equal(symbols[:, 1:], targets) and (lengths == 100).all()
    assert {*map(tuple, symbols.tolist())} == {(n, *range(99), n) for n in (99, 100)}
    for inputs, length, target in zip(*sequences(study, "noisy_lag", 40)[:3]):
        begin, which, *others, trigger = inputs[:length].argmax(1).tolist()
        assert (begin, which - 51, trigger) == (50, target, 53)
        assert len(others) >= 50 > max(others) and not inputs[length:].any()


def test_classes_are_told_by_what_comes_when(study: ModuleType) -> None:
    for name, places in (("order_2", (10, 50)), ("order_3", (10, 33, 66))):
        for inputs, length, target in zip(*sequences(study, name, 200)[:3]):
            text = "".join("abcdXYEB"[code] for code in inputs[:length].argmax(1))
            assert re.fullmatch("E[abcdXY]{98,108}B", text)
            at = [place for place, symbol in enumerate(text) if symbol in "XY"]
            assert all(0 <= found - least <= 10 for found, least in zip(at, places, strict=True))
            assert f"{target:0{len(at)}b}" == "".join(str("XY".index(text[n])) for n in at)
    inputs, _, classes, _ = sequences(study, "two_sequences", 200)
    assert torch.equal(inputs[:, :3, 0], (2.0 * classes - 1)[:, None].expand(-1, 3))
    assert abs(inputs[:, 3:100].var() - 0.2) < 0.01


@pytest.mark.parametrize("name", ["adding", "multiplying"])
def test_targets_are_of_the_marked_numbers(study: ModuleType, name: str) -> None:
    for inputs, length, target in zip(*sequences(study, name, 200)[:3]):
        numbers, marks = inputs[:length].T
        assert 100 <= length <= 110 and marks[0] == marks[-1] == -1
        at = [0, *(marks == 1).nonzero().flatten().tolist()][-2:]  # the first cannot show its mark
        assert at[0] or numbers[0] == (name == "multiplying")  # and counts for nothing
        assert min(at) < 10 and max(at) < 50 and not inputs[length:].any()
        expected = numbers[at].prod() if name == "multiplying" else 0.5 + numbers[at].sum() / 4
        torch.testing.assert_close(target, expected)


@pytest.mark.parametrize(
    "name",
    ["noisy_lag", *(pytest.param(name, marks=pytest.mark.long) for name in ("reber", "order_2"))],
)
def test_only_the_right_tensor_solves_a_task(study: ModuleType, name: str) -> None:
    task = study.TASKS[name]
    sequences_seen, share_right, _ = study.train(task, "lstm", study.RIGHT, seed=100)
    assert sequences_seen < task.limit and share_right == 1
    as_long = replace(task, limit=sequences_seen)
    never_solved, wrong_share, _ = study.train(as_long, "lstm", study.WRONG, seed=100)
    assert never_solved == math.inf and wrong_share < 0.6


@pytest.mark.parametrize("name", ["noisy_lag", pytest.param("reber", marks=pytest.mark.long)])
def test_a_seed_gives_the_same_training_again_and_another_seed_another(
    study: ModuleType, name: str
) -> None:
    task = study.TASKS[name]
    first, again, other = (
        study.train(task, "lstm", study.RIGHT, seed)[:2] for seed in (100, 100, 101)
    )
    assert first == again != other and other[1] == 1


def test_the_page_shows_what_was_measured() -> None:
    pages = (ROOT / "docs" / "lstm_1997.md", FOLDER / "results.md")
    page, results = (re.findall(r"^\|.*$", read(path), re.MULTILINE) for path in pages)
    assert len(results) == 12 and page == results
