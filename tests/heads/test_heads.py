"""Each head against its definition, written out for one row at a time; and the registry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head, build_head, find_head
from seqmodels.heads.pooling import pooled
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.outputs import ClassOutput, ValueOutput
from seqmodels.nn.windows import mean_over_windows
from tests.shipped import ALL_HEADS, CLASSIFIER_HEADS, fitting_directions

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

F, H, P, CLASSES = 4, 6, 3, 7
B, T, LENGTHS = 5, 9, [3, 8, 1, 8, 2]

# What each head selects from one row: output (length, D*H) and h_n (L, D, H), without padding.
Definition = Callable[[Any, Tensor, Tensor], Tensor]


def mean(steps: Tensor) -> Tensor:
    return torch.stack([sum(feature) / len(steps) for feature in steps.T])


def maximum(steps: Tensor) -> Tensor:
    return torch.stack([max(feature) for feature in steps.T])


def weighted(scores: list[Tensor], steps: Tensor) -> Tensor:
    """The sum of the steps, weighted by the softmax of their scores."""
    powers = [torch.exp(score) for score in scores]
    return sum(power / sum(powers) * step for power, step in zip(powers, steps, strict=True))


def attention(head: Any, output: Tensor, h_n: Tensor) -> Tensor:
    hidden = [torch.tanh(head.hidden.weight @ h + head.hidden.bias) for h in output]
    return weighted([head.query.weight[0] @ u for u in hidden], output)


def max_attention(head: Any, output: Tensor, h_n: Tensor) -> Tensor:
    query = maximum(output)
    return weighted([query @ h / (h @ h).sqrt() for h in output], output)


DEFINITIONS: dict[str, Definition] = {
    "last_hidden": lambda head, output, h_n: h_n[-1, 0],
    "bidirectional_concat": lambda head, output, h_n: torch.cat([h_n[-1, 0], h_n[-1, 1]]),
    "last_output": lambda head, output, h_n: output[-1],
    "mean_pool": lambda head, output, h_n: mean(output),
    "max_pool": lambda head, output, h_n: maximum(output),
    "concat_pool": lambda head, output, h_n: torch.cat(
        [*h_n[-1], maximum(output), mean(output)]  # final states forward (and backward)
    ),
    "attention_pool": attention,
    "max_attention_pool": max_attention,
}

every_head = pytest.mark.parametrize("name", CLASSIFIER_HEADS)
each_fit = pytest.mark.parametrize(  # each head with each number of directions that it fits
    ("name", "two"), [(name, two) for name in CLASSIFIER_HEADS for two in fitting_directions(name)]
)


def head_with_states(
    name: str, two: bool | None = None, layers: int = 2, **more: Any
) -> tuple[Any, RNNOutput]:
    """A head, and states for it: the encoder's, with what is not zero and not a number as padding
    of its inputs."""
    kept = {key: more.pop(key) for key in ("options", "dropout") if key in more}
    torch.manual_seed(0)
    two = bool(HEADS[name].requires_bidirectional) if two is None else two
    encoder = RecurrentEncoder(F, H, layers, bidirectional=two, **more)
    inputs, lengths = 3 * torch.randn(B, T, F), torch.tensor(LENGTHS)
    inputs[torch.arange(T) >= lengths.unsqueeze(1)] = math.nan
    head = build_head(name, encoder, lambda width, **_: ClassOutput(width, CLASSES), **kept)
    head.encoder = encoder  # so that its parameters are the head's
    return head, encoder(inputs, lengths)


def same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def check(head: Any, states: RNNOutput, definition: Definition) -> None:
    selected, logits = head.select(states), head(states)
    assert logits.shape == (B, CLASSES)
    for row, length in enumerate(LENGTHS):
        wanted = definition(head, states.output[row, :length], states.h_n[:, :, row])
        same(selected[row], wanted)
        same(logits[row], head.output.project.weight @ wanted + head.output.project.bias)


# ---------------------------------------------------------------- what each head selects


@pytest.mark.parametrize("encoder", [{}, {"layers": 1, "cell": "gru"}, {"proj_size": P}], ids=str)
@each_fit
def test_head_equals_its_definition(name: str, two: bool, encoder: dict[str, Any]) -> None:
    check(*head_with_states(name, two, **encoder), DEFINITIONS[name])


@each_fit
def test_output_at_padding_is_not_read(name: str, two: bool) -> None:
    """Also where it is more than any valid step; and no head counts its steps."""
    head, states = head_with_states(name, two)
    longer = torch.cat([states.output, states.output.new_zeros(B, 4, states.output.shape[2])], 1)
    for output in (longer - 2, longer[:, : max(LENGTHS)] - 2):
        output[torch.arange(output.shape[1]) >= states.lengths.unsqueeze(1)] = 0.0
        check(head, RNNOutput(output, states.h_n, states.c_n, states.lengths), DEFINITIONS[name])


@each_fit
def test_gradients_flow_into_every_parameter(name: str, two: bool) -> None:
    for packing in ("packed", "padded"):
        head, states = head_with_states(name, two, packing=packing)
        head(states).square().sum().backward()
        for key, parameter in head.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
            assert torch.count_nonzero(parameter.grad), key


@every_head
def test_dropout_acts_on_the_selected_features_in_training_only(name: str) -> None:
    head, states = head_with_states(name, dropout=nn.Dropout(1.0))
    assert torch.equal(head(states), head.output.project.bias.expand(B, CLASSES))
    check(head.eval(), states, DEFINITIONS[name])


def test_a_head_of_every_step_counts_no_step_after_the_end_of_a_row() -> None:
    encoder = RecurrentEncoder(F, H)
    head = build_head("every_step", encoder, lambda width, **_: ValueOutput(width, 1))
    states, targets = encoder(torch.randn(B, T, F), LENGTHS), torch.randn(B, T, 1)
    spoilt = targets.masked_fill(~states.mask.unsqueeze(2), 1e6)
    found, expected = head.score(states, spoilt), head.score(states, targets)
    same(found.loss, expected.loss)
    same(found.of_rows(B), expected.of_rows(B))


def test_dropout_acts_once_on_the_mean_over_windows() -> None:
    head, states = head_with_states("max_pool", dropout=nn.Dropout(0.5))
    counts = torch.tensor([1, B - 1])
    features = head.features(replace(states, windows=counts))
    mean = mean_over_windows(head.select(states), counts)
    is_kept = features != 0
    assert is_kept.any() and not is_kept.all()
    same(features, 2 * mean * is_kept)


def test_the_sum_of_a_long_stream_keeps_its_digits() -> None:
    def step_of(value: float) -> RNNOutput:
        return RNNOutput(
            torch.full((1, 1, H), value), torch.zeros(1, 1, 1, H), None, torch.tensor([1])
        )

    most = 2.0**24  # from here on, float32 counts in twos
    carried = pooled(step_of(most))
    for _ in range(3):
        carried = pooled(replace(step_of(1.0), before=carried))
    assert carried.total.tolist() == [[most + 3] * H]


# ---------------------------------------------------------------- attention


def test_attention_weights_are_those_that_select_uses() -> None:
    weighing = {name for name in ALL_HEADS if hasattr(HEADS[name], "weights")} - {"attention"}
    assert weighing == {"attention_pool", "max_attention_pool"}
    for name in sorted(weighing):
        head, states = head_with_states(name)
        weights = head.weights(states)
        same(head.select(states), (weights.unsqueeze(-1) * states.output).sum(1))
        same(weights.sum(1), torch.ones(B))
        assert torch.equal(weights > 0, states.mask)


# ---------------------------------------------------------------- what a head cannot serve


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: head_with_states("bidirectional_concat", False), "needs a bidirectional encoder"),
        (lambda: find_head("max_pol"), "^model.head=max_pol: .*; did you mean max_pool?"),
        (
            lambda: find_head("max_pool", per="step"),
            "model.head=max_pool reads one vector for each sequence, .* one for each step: ",
        ),
        (
            lambda: head_with_states("attention_pool", options={"w": 3}),
            "options.w is .* of attention_size",
        ),
    ],
)
def test_a_wrong_choice_is_named(wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        wrong()


# ---------------------------------------------------------------- heads of one's own


def test_new_head_is_a_name_what_it_reads_and_select() -> None:
    class LastCell(Head, name="last_cell"):
        reads = ("c_n",)

        def build(self, encoder: RecurrentEncoder, scale: float = 1.0) -> None:
            self.scale = scale

        def select(self, states: RNNOutput) -> Tensor:
            assert states.c_n is not None
            return self.scale * states.c_n[-1, 0]

    head, states = head_with_states("last_cell", proj_size=P, options={"scale": 3.0})
    assert isinstance(head, LastCell) and find_head("last_cell") is LastCell
    assert head.output.project.in_features == H  # as wide as c_n, also where h_n is narrower
    assert states.c_n is not None
    same(head.select(states), 3.0 * states.c_n[-1, 0])
    with pytest.raises(UserError, match="'last_cell' reads c_n, which a gru does not have"):
        head_with_states("last_cell", cell="gru")


def test_two_heads_of_one_name_are_an_error() -> None:
    first = HEADS["max_pool"]
    with pytest.raises(ValueError, match="two heads are called 'max_pool': seqmodels.heads.pool"):

        class Second(Head, name="max_pool"):
            pass

    assert HEADS["max_pool"] is first


def test_the_same_lines_may_define_a_head_again() -> None:
    """As in a notebook, whose cell is run twice: the second counts."""

    def run() -> type[Head]:
        class Twice(Head, name="twice"):
            pass

        return Twice

    assert run() is not (second := run())
    assert find_head("twice") is second
