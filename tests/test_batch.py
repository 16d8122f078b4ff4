"""`SequenceBatch`: validated once, and moved without losing its lengths."""

from __future__ import annotations

import dataclasses
import re

import jaxtyping
import pytest
import torch
from torch import Tensor

from seqmodels.batch import PADDING_TARGET, PairBatch, SequenceBatch
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.padding import valid_steps

B, T, F = 3, 5, 4
LENGTHS = [2, 5, 1]


def tokens() -> Tensor:
    return torch.arange(B * T).view(B, T)


def lengths(values: list[int] = LENGTHS) -> Tensor:
    return torch.tensor(values)


@pytest.fixture
def unchecked_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users run the package: here, annotations would object before the package itself does."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def step_targets() -> Tensor:
    return torch.tensor([[7, 8, -100, -100, -100], [1, 2, 3, 4, 5], [6, -100, -100, -100, -100]])


VALUES = torch.tensor([[0.5, torch.nan], [1.5, 2.5], [torch.nan, 3.5]])  # (B, K)
STEP_VALUES = torch.rand(B, T, 2).masked_fill((step_targets() < 0).unsqueeze(2), torch.nan)
STEP_VALUES[1, 3, 0] = torch.nan  # (B, T, K)
TARGETS = [
    None,
    torch.tensor([0, 2, 1]),
    step_targets(),
    VALUES[:, 0],
    VALUES,
    VALUES.double(),
    STEP_VALUES,
]


@pytest.mark.parametrize("inputs", [tokens(), torch.rand(B, T, F), torch.rand(B, T, F).double()])
@pytest.mark.parametrize("targets", TARGETS)
def test_valid_batch_keeps_what_it_was_given(inputs: Tensor, targets: Tensor | None) -> None:
    batch = SequenceBatch(inputs, lengths(), targets)
    assert batch.inputs is inputs
    assert batch.lengths.tolist() == LENGTHS
    assert batch.targets is targets
    assert len(batch) == B


def test_mask_is_true_at_valid_steps() -> None:
    assert SequenceBatch(tokens(), lengths()).mask.tolist() == [
        [True, True, False, False, False],
        [True, True, True, True, True],
        [True, False, False, False, False],
    ]


def test_mask_is_on_the_device_of_inputs() -> None:
    mask = SequenceBatch(tokens().to("meta"), lengths()).mask
    assert (mask.device.type, mask.shape, mask.dtype) == ("meta", (B, T), torch.bool)


def test_valid_steps_may_leave_extra_padding() -> None:
    assert valid_steps(torch.tensor([1, 2]), 3, torch.device("cpu")).tolist() == [
        [True, False, False],
        [True, True, False],
    ]


def test_batch_is_frozen() -> None:
    batch = SequenceBatch(tokens(), lengths())
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.lengths = lengths()  # type: ignore[misc]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "inputs",
    [
        torch.zeros(B, T),  # floating point, but no features
        torch.zeros(B, T, dtype=torch.int32),
        torch.zeros(B, T, F, dtype=torch.int32),
        torch.zeros(B, dtype=torch.int64),
        torch.zeros(B, T, F, 1),
    ],
)
def test_wrong_inputs_are_named_with_shape_and_type(inputs: Tensor) -> None:
    message = (
        "inputs must be tokens (B, T) or words with characters (B, T, 1 + K) int64, or "
        "features (B, T, F) floating point, "
        f"got {tuple(inputs.shape)} {inputs.dtype}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SequenceBatch(inputs, lengths())


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "wrong", [torch.ones(B + 1, dtype=torch.int64), torch.ones(B, 1, dtype=torch.int64)]
)
def test_lengths_of_wrong_shape_are_an_error(wrong: Tensor) -> None:
    message = f"lengths must be (3,) int64, got {tuple(wrong.shape)} torch.int64"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SequenceBatch(tokens(), wrong)


def test_lengths_of_wrong_type_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^lengths must be \(3,\) int64, got \(3,\) torch.int32$"):
        SequenceBatch(tokens(), lengths().int())


def test_lengths_off_the_cpu_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^lengths must be on the CPU, got meta$"):
        SequenceBatch(tokens(), lengths().to("meta"))


@pytest.mark.parametrize(("row", "value"), [(0, 0), (1, 0), (2, -3)])
def test_sequence_without_steps_is_an_error_that_names_the_row(row: int, value: int) -> None:
    wrong = lengths()
    wrong[row] = value
    message = rf"^lengths\[{row}\] is {value}: a sequence needs at least 1 step$"
    with pytest.raises(ValueError, match=message):
        SequenceBatch(tokens(), wrong)


@pytest.mark.parametrize("row", range(B))
def test_length_beyond_the_inputs_is_an_error_that_names_the_row(row: int) -> None:
    wrong = lengths()
    wrong[row] = T + 1
    message = rf"^lengths\[{row}\] is 6, but inputs have only 5 steps$"
    with pytest.raises(ValueError, match=message):
        SequenceBatch(tokens(), wrong)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "targets",
    [
        torch.zeros(B + 1, dtype=torch.int64),
        torch.full((B, T - 1), PADDING_TARGET),
        torch.zeros(B, dtype=torch.int32),
        torch.zeros(B, T, F, dtype=torch.int64),
        torch.zeros(B + 1),
        torch.zeros(B + 1, 2),
        torch.zeros(B, T - 1, 2),
        torch.zeros(B, T, 2, 1),
        torch.zeros(()),
    ],
)
def test_wrong_targets_are_named_with_shape_and_type(targets: Tensor) -> None:
    message = (
        "targets must be (3,) or (3, 5) int64, or (3,), (3, K) or (3, 5, K) floating point, "
        f"got {tuple(targets.shape)} {targets.dtype}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SequenceBatch(tokens(), lengths(), targets)


@pytest.mark.parametrize(("row", "step"), [(0, 2), (0, 4), (2, 1)])
def test_target_at_padding_is_an_error_that_names_row_and_step(row: int, step: int) -> None:
    targets = step_targets()
    targets[row, step] = 9
    message = (
        f"targets[{row}, {step}] is 9, but row {row} has only {LENGTHS[row]} steps: "
        "targets at padding must be -100"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SequenceBatch(tokens(), lengths(), targets)


def test_a_value_at_padding_is_an_error_that_names_row_and_step() -> None:
    targets = STEP_VALUES.clone()
    targets[2, 3, 1] = 0.5
    message = (
        "targets[2, 3] is [nan, 0.5], but row 2 has only 1 steps: targets at padding must be nan"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SequenceBatch(tokens(), lengths(), targets)


def test_valid_step_may_have_no_target() -> None:
    targets = step_targets()
    targets[1, 2] = PADDING_TARGET
    assert SequenceBatch(tokens(), lengths(), targets).targets is targets


def test_values_as_wide_as_the_inputs_are_long_are_not_taken_for_steps() -> None:
    targets = torch.full((B, T), 0.5)  # rows 0 and 2 are shorter than T
    assert SequenceBatch(tokens(), lengths(), targets).targets is targets


def test_padding_target_is_what_cross_entropy_ignores() -> None:
    logits, targets = torch.randn(2, 3), torch.tensor([1, PADDING_TARGET])
    both = torch.nn.functional.cross_entropy(logits, targets)
    torch.testing.assert_close(both, torch.nn.functional.cross_entropy(logits[:1], targets[:1]))


@pytest.mark.parametrize("targets", TARGETS)
def test_move_keeps_lengths_on_the_cpu_and_does_not_validate_again(
    targets: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = SequenceBatch(tokens(), lengths(), targets)

    def fail(self: SequenceBatch) -> None:
        raise AssertionError("validated again")

    monkeypatch.setattr(SequenceBatch, "_check", fail)
    moved = batch.to("meta")
    assert moved.inputs.device.type == "meta"
    assert moved.lengths.device.type == "cpu"
    assert moved.lengths.tolist() == LENGTHS
    if targets is None:
        assert moved.targets is None
    else:
        assert moved.targets is not None
        assert moved.targets.device.type == "meta"
    assert batch.inputs.device.type == "cpu"


def test_move_to_its_own_device_is_the_same_batch() -> None:
    batch = SequenceBatch(tokens(), lengths())
    assert batch.to("cpu") is batch
    assert batch.to(torch.device("cpu")) is batch


@pytest.mark.cuda  # page-locked memory
@pytest.mark.parametrize("targets", [None, torch.tensor([0, 2, 1])])
def test_pin_memory_pins_every_tensor(targets: Tensor | None) -> None:
    pinned = SequenceBatch(tokens(), lengths(), targets).pin_memory()
    assert pinned.inputs.is_pinned()
    assert pinned.lengths.is_pinned()
    assert targets is None or (pinned.targets is not None and pinned.targets.is_pinned())
    assert pinned.lengths.tolist() == LENGTHS


# ---------------------------------------------------------------- pairs


def pair() -> PairBatch:
    source = SequenceBatch(torch.rand(B, T, F), lengths(), rows=torch.arange(B))
    inputs = torch.arange(B * 2).view(B, 2)
    targets = torch.tensor([[1, 0], [0, PADDING_TARGET], [2, 0]])
    return PairBatch.of(source, SequenceBatch(inputs, torch.tensor([2, 1, 2]), targets))


def test_a_pair_is_its_source_with_the_targets_of_its_target() -> None:
    batch = pair()
    assert len(batch) == B == len(batch.target) and batch.rows.tolist() == [0, 1, 2]
    assert batch.targets is batch.target.targets and batch.mask.shape == (B, T)
    assert not batch.continues


def test_sides_of_different_numbers_of_rows_are_an_error() -> None:
    short = SequenceBatch(torch.zeros(2, 7, dtype=torch.int64), torch.tensor([7, 1]))
    with pytest.raises(ValueError, match=r"^target must have 3 rows, as inputs, got 2$"):
        PairBatch.of(pair(), short)
    with pytest.raises(ValueError, match=r"^references must have 3 rows, as inputs, got 1$"):
        PairBatch.of(pair(), pair().target, [("a",)])


def test_a_pair_is_frozen() -> None:
    batch = pair()
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.target = batch  # type: ignore[misc]


def test_a_pair_moves_both_sides_and_keeps_their_lengths_on_the_cpu() -> None:
    moved = pair().to("meta")
    for side, shape in ((moved, (B, T, F)), (moved.target, (B, 2))):
        assert side.inputs.device.type == "meta" and side.inputs.shape == shape
        assert side.targets is not None and side.targets.device.type == "meta"
        assert side.lengths.device.type == "cpu"
    assert moved.target.lengths.tolist() == [2, 1, 2] and moved.targets is moved.target.targets


def test_a_change_of_some_tensors_reaches_both_sides() -> None:
    changed = pair().map(lambda tensor: tensor.double(), "inputs")
    assert changed.inputs.dtype == changed.target.inputs.dtype == torch.float64
    assert changed.targets is changed.target.targets and changed.targets.dtype == torch.int64


@pytest.mark.cuda  # page-locked memory
def test_pin_memory_pins_both_sides() -> None:
    pinned = pair().pin_memory()
    assert pinned.inputs.is_pinned() and pinned.target.inputs.is_pinned()


def test_it_shows_shapes_and_takes_a_list_of_lengths() -> None:
    batch = SequenceBatch(torch.zeros(2, 3, 4), [3, 1], torch.tensor([0, 1]))
    assert repr(batch) == (
        "SequenceBatch(inputs=(2, 3, 4) float32, lengths=(2,) int64, targets=(2,) int64)"
    )
    states = RecurrentEncoder(4, 5)(batch.inputs, [3, 1])
    assert repr(states) == (
        "RNNOutput(output=(2, 3, 5) float32, h_n=(1, 1, 2, 5) float32, "
        "c_n=(1, 1, 2, 5) float32, lengths=(2,) int64)"
    )
    same = RecurrentEncoder(4, 5)
    torch.testing.assert_close(
        same(batch.inputs, [3, 1]).h_n, same(batch.inputs, batch.lengths).h_n
    )
