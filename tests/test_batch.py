"""`SequenceBatch`: validated once, and moved without losing its lengths."""

from __future__ import annotations

import re
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from seqmodels.batch import PADDING_TARGET, PairBatch, SequenceBatch

B, T, F = 3, 5, 4
LENGTHS = torch.tensor([2, 5, 1])
TOKENS = torch.arange(B * T).view(B, T)
VALID = torch.arange(T) < LENGTHS.unsqueeze(1)
TAGS = torch.arange(B * T).view(B, T).masked_fill(~VALID, PADDING_TARGET)
VALUES = torch.tensor([[0.5, torch.nan], [1.5, 2.5], [torch.nan, 3.5]])  # (B, K)
STEP_VALUES = torch.rand(B, T, 2).masked_fill(~VALID.unsqueeze(2), torch.nan)  # (B, T, K)


def put(tensor: Tensor, place: Any, value: float) -> Tensor:
    """A copy with another value at one place."""
    copy = tensor.clone()
    copy[place] = value
    return copy


TARGETS = [
    None,
    torch.tensor([0, 2, 1]),
    put(TAGS, (1, 2), PADDING_TARGET),  # a valid step may have none
    VALUES,
    torch.full((B, T), 0.5),  # as wide as the inputs are long, and not taken for steps
    put(STEP_VALUES, (1, 3, 0), torch.nan),
]


def pair() -> PairBatch:
    source = SequenceBatch(torch.rand(B, T, F), LENGTHS, rows=torch.arange(B))
    targets = torch.tensor([[1, 0], [0, PADDING_TARGET], [2, 0]])
    written = SequenceBatch(torch.arange(B * 2).view(B, 2), torch.tensor([2, 1, 2]), targets)
    return PairBatch.of(source, written)


@pytest.mark.parametrize("targets", TARGETS)
def test_a_valid_batch_keeps_what_it_was_given(targets: Tensor | None) -> None:
    for inputs in (TOKENS, torch.rand(B, T, F)):
        batch = SequenceBatch(inputs, LENGTHS.tolist(), targets)
        assert batch.inputs is inputs and batch.targets is targets
        assert len(batch) == B and torch.equal(batch.mask, VALID)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("inputs", torch.zeros(B, T), "inputs must be tokens (B, T) or "),
        ("lengths", torch.tensor([2, 5, 1, 1]), "lengths must be (3,) int64, got "),
        ("lengths", LENGTHS.to("meta"), "lengths must be on the CPU, got meta"),
        ("lengths", put(LENGTHS, 1, 0), "lengths[1] is 0: "),
        ("lengths", put(LENGTHS, 0, T + 1), "lengths[0] is 6, but inputs have only 5 steps"),
        ("rows", torch.arange(B + 1), "rows must be (3,) int64, got "),
        # One weight for all rows would be broadcast.
        ("weights", torch.ones(1), "weights must be (3,), got "),
        ("weights", torch.ones(B, 1), "weights must be (3,), got "),
        ("scale", torch.ones(B, 2, 1), "scale must be (3, 3, K), got "),
        ("targets", TAGS[:, :-1], "targets must be (3,) or (3, 5) int64, "),
        ("targets", STEP_VALUES[:, :-1], "targets must be (3,) or (3, 5) int64, "),
        ("targets", put(TAGS, (0, 2), 9), "targets[0, 2] is 9, but row 0 has only 2 steps: "),
        ("targets", put(STEP_VALUES, (2, 3, 1), 0.5), "targets[2, 3] is [nan, 0.5], but row 2"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(
    name: str, value: Tensor, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as users run it: here, annotations would object before the package itself does
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        SequenceBatch(**{"inputs": TOKENS, "lengths": LENGTHS, name: value})


def test_a_pair_is_its_source_with_the_targets_of_its_target() -> None:
    batch = pair()
    assert len(batch) == B == len(batch.target) and batch.rows.tolist() == [0, 1, 2]
    assert batch.targets is batch.target.targets and batch.mask.shape == (B, T)
    with pytest.raises(ValueError, match="^target must have 3 rows, as inputs, got 2"):
        PairBatch.of(batch, SequenceBatch(TOKENS[:2], torch.tensor([5, 1])))
    changed = batch.map(lambda tensor: tensor.double(), "inputs")
    assert changed.inputs.dtype == changed.target.inputs.dtype == torch.float64
    assert changed.targets is changed.target.targets and changed.targets.dtype == torch.int64


@pytest.mark.parametrize("batch", [SequenceBatch(TOKENS, LENGTHS, TAGS), pair()])
def test_a_move_keeps_lengths_on_the_cpu_and_does_not_validate_again(
    batch: SequenceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SequenceBatch, "_check", lambda self: pytest.fail("validated again"))
    moved: Any = batch.to("meta")
    assert moved.targets is getattr(moved, "target", moved).targets
    for side in (moved, getattr(moved, "target", moved)):
        assert {side.inputs.device.type, side.targets.device.type, side.mask.device.type} == {
            "meta"
        }
        assert side.lengths.device.type == "cpu"
    assert moved.lengths is batch.lengths and batch.to("cpu") is batch


def test_it_shows_shapes() -> None:
    batch = SequenceBatch(torch.zeros(2, 3, 4), [3, 1], torch.tensor([0, 1]))
    shown = "inputs=(2, 3, 4) float32, lengths=(2,) int64, targets=(2,) int64"
    assert repr(batch) == f"SequenceBatch({shown})"
