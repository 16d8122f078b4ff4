"""`SequenceBatch`: validated once, and moved without losing its lengths."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from seqmodels.batch import PADDING_TARGET, PairBatch, SequenceBatch
from seqmodels.nn.encoder import RecurrentEncoder

B, T, F = 3, 5, 4
LENGTHS = torch.tensor([2, 5, 1])
TOKENS = torch.arange(B * T).view(B, T)
VALID = torch.arange(T) < LENGTHS.unsqueeze(1)
TAGS = torch.arange(B * T).view(B, T).masked_fill(~VALID, PADDING_TARGET)
VALUES = torch.tensor([[0.5, torch.nan], [1.5, 2.5], [torch.nan, 3.5]])  # (B, K)
STEP_VALUES = torch.rand(B, T, 2).masked_fill(~VALID.unsqueeze(2), torch.nan)  # (B, T, K)
STEP_VALUES[1, 3, 0] = torch.nan


def put(tensor: Tensor, place: Any, value: float) -> Tensor:
    """A copy with another value at one place."""
    copy = tensor.clone()
    copy[place] = value
    return copy


def ints(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


TARGETS = [
    None,
    torch.tensor([0, 2, 1]),
    TAGS,
    put(TAGS, (1, 2), PADDING_TARGET),  # a valid step may have none
    VALUES[:, 0],
    VALUES.double(),
    torch.full((B, T), 0.5),  # as wide as the inputs are long, and not taken for steps
    STEP_VALUES,
]


def pair() -> PairBatch:
    source = SequenceBatch(torch.rand(B, T, F), LENGTHS, rows=torch.arange(B))
    targets = torch.tensor([[1, 0], [0, PADDING_TARGET], [2, 0]])
    written = SequenceBatch(torch.arange(B * 2).view(B, 2), torch.tensor([2, 1, 2]), targets)
    return PairBatch.of(source, written)


BATCHES = [*(SequenceBatch(TOKENS, LENGTHS, targets) for targets in TARGETS), pair()]


@pytest.mark.parametrize("inputs", [TOKENS, torch.rand(B, T, F), torch.rand(B, T, F).double()])
@pytest.mark.parametrize("targets", TARGETS)
def test_a_valid_batch_keeps_what_it_was_given(inputs: Tensor, targets: Tensor | None) -> None:
    batch = SequenceBatch(inputs, LENGTHS, targets)
    assert batch.inputs is inputs and batch.lengths is LENGTHS and batch.targets is targets
    assert len(batch) == B and torch.equal(batch.mask, VALID)


INPUTS = "inputs must be tokens (B, T) or words with characters (B, T, 1 + K) int64, or features "
LENGTHS_MUST = "lengths must be (3,) int64, got "
TARGETS_MUST = "targets must be (3,) or (3, 5) int64, or (3,), (3, K) or (3, 5, K) floating point, "


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("inputs", torch.zeros(B, T), INPUTS),  # floating point, but no features
        ("inputs", torch.zeros(B, T, F, dtype=torch.int32), INPUTS),
        ("inputs", torch.zeros(B, T, F, 1), INPUTS),
        ("lengths", ints(B + 1) + 1, LENGTHS_MUST),
        ("lengths", ints(B, 1) + 1, LENGTHS_MUST),
        ("lengths", LENGTHS.int(), f"{LENGTHS_MUST}(3,) torch.int32"),
        ("lengths", LENGTHS.to("meta"), "lengths must be on the CPU, got meta"),
        ("lengths", put(LENGTHS, 1, 0), "lengths[1] is 0: "),
        ("lengths", put(LENGTHS, 0, T + 1), "lengths[0] is 6, but inputs have only 5 steps"),
        ("rows", torch.arange(B + 1), "rows must be (3,) int64, got "),
        ("series", torch.rand(B), "series must be (3,) int64, got "),
        ("targets", ints(B + 1), TARGETS_MUST),
        ("targets", ints(B, T - 1), TARGETS_MUST),
        ("targets", ints(B).int(), TARGETS_MUST),
        ("targets", torch.zeros(B, T - 1, 2), TARGETS_MUST),
        ("targets", torch.zeros(()), TARGETS_MUST),
        ("targets", put(TAGS, (0, 2), 9), "targets[0, 2] is 9, but row 0 has only 2 steps: "),
        ("targets", put(TAGS, (2, 1), 9), "targets[2, 1] is 9, but row 2"),
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
    assert not batch.continues
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.lengths = batch.target.lengths  # type: ignore[misc]
    short = SequenceBatch(ints(2, 7), torch.tensor([7, 1]))
    with pytest.raises(ValueError, match="^target must have 3 rows, as inputs, got 2"):
        PairBatch.of(batch, short)
    with pytest.raises(ValueError, match="^references must have 3 rows, as inputs, got 1"):
        PairBatch.of(batch, batch.target, [("a",)])


@pytest.mark.parametrize("batch", BATCHES)
def test_a_move_keeps_lengths_on_the_cpu_and_does_not_validate_again(
    batch: SequenceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SequenceBatch, "_check", lambda self: pytest.fail("validated again"))
    moved = batch.to("meta")
    sides = [(batch, moved)]
    if isinstance(batch, PairBatch) and isinstance(moved, PairBatch):
        sides.append((batch.target, moved.target))
        assert moved.targets is moved.target.targets
    for before, after in sides:
        assert (before.inputs.device.type, after.inputs.device.type) == ("cpu", "meta")
        assert after.inputs.shape == before.inputs.shape and after.mask.device.type == "meta"
        assert after.lengths is before.lengths
        assert (after.targets is None) == (before.targets is None)
        assert after.targets is None or after.targets.device.type == "meta"
    assert batch.to("cpu") is batch


def test_a_change_of_some_tensors_reaches_both_sides() -> None:
    changed = pair().map(lambda tensor: tensor.double(), "inputs")
    assert changed.inputs.dtype == changed.target.inputs.dtype == torch.float64
    assert changed.targets is changed.target.targets and changed.targets.dtype == torch.int64


@pytest.mark.cuda  # page-locked memory
@pytest.mark.parametrize("batch", [*BATCHES[:2], pair()])
def test_pin_memory_pins_every_tensor(batch: SequenceBatch) -> None:
    pinned = batch.pin_memory()
    for side in (pinned, getattr(pinned, "target", pinned)):
        held = (side.inputs, side.lengths, side.targets)
        assert all(tensor.is_pinned() for tensor in held if tensor is not None)
    assert torch.equal(pinned.lengths, batch.lengths)


def test_it_shows_shapes_and_takes_a_list_of_lengths() -> None:
    batch = SequenceBatch(torch.zeros(2, 3, 4), [3, 1], torch.tensor([0, 1]))
    assert repr(batch) == (
        "SequenceBatch(inputs=(2, 3, 4) float32, lengths=(2,) int64, targets=(2,) int64)"
    )
    assert "h_n=(1, 1, 2, 5) float32, " in repr(RecurrentEncoder(4, 5)(batch.inputs, [3, 1]))
