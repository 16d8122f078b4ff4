"""Each head against its definition, written out for one row at a time; and the registry."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head, build_head, find_head
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.outputs import ClassOutput
from tests.shipped import ALL_HEADS, CLASSIFIER_HEADS

pytestmark = pytest.mark.filterwarnings(
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning"
)

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

# heads that read every step are tested with the language model
CLASSIFIERS = list(CLASSIFIER_HEADS)

every_head = pytest.mark.parametrize("name", CLASSIFIERS)
attention_heads = pytest.mark.parametrize(
    "name", [name for name in CLASSIFIERS if hasattr(HEADS[name], "weights")]
)
# each head with each number of directions that it fits
every_head_and_direction = pytest.mark.parametrize(
    ("name", "bidirectional"),
    [
        pytest.param(name, bidirectional, id=f"{name}-{'two' if bidirectional else 'one'}")
        for name in CLASSIFIERS
        for bidirectional in (False, True)
        if HEADS[name].requires_bidirectional in (None, bidirectional)
    ],
)


def make_encoder(num_layers: int = 2, bidirectional: bool = False, **options: Any) -> Any:
    torch.manual_seed(0)
    return RecurrentEncoder(F, H, num_layers, bidirectional=bidirectional, **options)


def encoder_for(name: str, **options: Any) -> Any:
    return make_encoder(bidirectional=bool(HEADS[name].requires_bidirectional), **options)


def make_head(name: str, encoder: RecurrentEncoder, **options: Any) -> Any:
    torch.manual_seed(1)
    return build_head(name, encoder, lambda width, **_: ClassOutput(width, CLASSES), **options)


def make_states(encoder: RecurrentEncoder) -> RNNOutput:
    inputs = 3 * torch.randn(B, T, F, generator=torch.Generator().manual_seed(2))
    return encoder(inputs, torch.tensor(LENGTHS))


def with_padding(states: RNNOutput, time: int) -> RNNOutput:
    """The same states, cut or padded to `time` steps."""
    output = states.output.new_zeros(B, time, states.output.shape[2])
    kept = min(time, states.output.shape[1])
    output[:, :kept] = states.output[:, :kept]
    return RNNOutput(output, states.h_n, states.c_n, states.lengths)


# ---------------------------------------------------------------- what each head selects


def test_every_head_has_a_definition_here() -> None:
    assert sorted(DEFINITIONS) == CLASSIFIERS


@pytest.mark.parametrize(("cell", "proj_size"), [("lstm", 0), ("lstm", P), ("gru", 0), ("rnn", 0)])
@pytest.mark.parametrize("num_layers", [1, 3])
@every_head_and_direction
def test_head_equals_its_definition(
    name: str, bidirectional: bool, num_layers: int, cell: str, proj_size: int
) -> None:
    if "c_n" in HEADS[name].reads and cell != "lstm":
        with pytest.raises(UserError, match="reads c_n"):
            make_head(name, make_encoder(num_layers, bidirectional, cell=cell))
        return
    encoder = make_encoder(num_layers, bidirectional, cell=cell, proj_size=proj_size)
    head, states = make_head(name, encoder), make_states(encoder)
    selected, logits = head.select(states), head(states)
    assert logits.shape == (B, CLASSES)
    assert selected.shape == (B, head.output.project.in_features)
    for row, length in enumerate(LENGTHS):
        expected = DEFINITIONS[name](head, states.output[row, :length], states.h_n[:, :, row])
        torch.testing.assert_close(selected[row], expected, rtol=1e-5, atol=1e-6)
        expected_logits = head.output.project.weight @ expected + head.output.project.bias
        torch.testing.assert_close(logits[row], expected_logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("packing", ["packed", "padded"])
def test_last_output_equals_last_hidden(cell: str, num_layers: int, packing: str) -> None:
    encoder = make_encoder(num_layers, cell=cell, packing=packing)
    states = make_states(encoder)
    last_output, last_hidden = make_head("last_output", encoder), make_head("last_hidden", encoder)
    assert torch.equal(last_output.select(states), last_hidden.select(states))
    assert torch.equal(last_output(states), last_hidden(states))  # the seed is the same


def test_max_pool_ignores_padding() -> None:
    encoder = make_encoder(1)
    output = -1 - torch.rand(2, 5, H)
    output[0, 2:] = 0.0  # padding, which is more than any valid step
    states = RNNOutput(output, torch.zeros(1, 1, 2, H), None, torch.tensor([2, 5]))
    selected = make_head("max_pool", encoder).select(states)
    assert torch.equal(selected[0], output[0, :2].amax(0))
    assert torch.equal(selected[1], output[1].amax(0))


def test_mean_pool_divides_by_the_length() -> None:
    encoder = make_encoder(1)
    output = torch.ones(2, 5, H)
    output[0, 2:] = 0.0
    states = RNNOutput(output, torch.zeros(1, 1, 2, H), None, torch.tensor([2, 5]))
    assert torch.equal(make_head("mean_pool", encoder).select(states), torch.ones(2, H))


@every_head_and_direction
def test_amount_of_padding_changes_nothing(name: str, bidirectional: bool) -> None:
    encoder = make_encoder(bidirectional=bidirectional)
    head, states = make_head(name, encoder), make_states(encoder)
    logits = head(states)
    for time in (max(LENGTHS), T + 11):
        torch.testing.assert_close(head(with_padding(states, time)), logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("packing", ["packed", "padded"])
@every_head_and_direction
def test_content_of_the_padding_changes_no_logit_and_no_gradient(
    name: str, bidirectional: bool, packing: str
) -> None:
    encoder = make_encoder(bidirectional=bidirectional, packing=packing)
    head, lengths = make_head(name, encoder), torch.tensor(LENGTHS)
    inputs = torch.randn(B, T, F)
    padding = torch.arange(T) >= lengths.unsqueeze(1)
    spoilt = inputs.masked_fill(padding.unsqueeze(-1), float("nan"))
    parameters = [*encoder.parameters(), *head.parameters()]
    logits, spoilt_logits = (head(encoder(x, lengths)) for x in (inputs, spoilt))
    torch.testing.assert_close(spoilt_logits, logits, rtol=0, atol=1e-6)
    for a, b in zip(
        torch.autograd.grad(spoilt_logits.square().sum(), parameters),
        torch.autograd.grad(logits.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@every_head_and_direction
def test_permuted_rows_give_permuted_logits(name: str, bidirectional: bool) -> None:
    encoder = make_encoder(bidirectional=bidirectional)
    head, states = make_head(name, encoder), make_states(encoder)
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = RNNOutput(
        states.output[order],
        states.h_n[:, :, order],
        states.c_n[:, :, order],
        states.lengths[order],
    )
    torch.testing.assert_close(head(permuted), head(states)[order], rtol=0, atol=1e-6)


@every_head_and_direction
def test_gradients_flow_into_every_parameter(name: str, bidirectional: bool) -> None:
    encoder = make_encoder(bidirectional=bidirectional)
    head = make_head(name, encoder)
    head(make_states(encoder)).square().sum().backward()
    for module in (encoder, head):
        for parameter_name, parameter in module.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            assert torch.count_nonzero(parameter.grad), parameter_name


@every_head
def test_dropout_acts_on_the_selected_features_in_training_only(name: str) -> None:
    encoder = encoder_for(name)
    head, states = make_head(name, encoder, dropout=nn.Dropout(1.0)), make_states(encoder)
    plain = make_head(name, encoder)
    assert torch.equal(head(states), head.output.project.bias.expand(B, CLASSES))
    assert torch.equal(head.eval()(states), plain(states))


# ---------------------------------------------------------------- attention


@attention_heads
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "two"])
def test_attention_weights_are_a_distribution_over_valid_steps(
    name: str, bidirectional: bool
) -> None:
    encoder = make_encoder(bidirectional=bidirectional)
    weights = make_head(name, encoder).weights(make_states(encoder))
    assert weights.shape == (B, T)
    torch.testing.assert_close(weights.sum(1), torch.ones(B))
    for row, length in zip(weights, LENGTHS, strict=True):
        assert (row[:length] > 0).all()
        assert torch.count_nonzero(row[length:]) == 0
    assert weights[LENGTHS.index(1), 0] == 1


@attention_heads
def test_attention_weights_are_those_that_select_uses(name: str) -> None:
    encoder = make_encoder()
    head, states = make_head(name, encoder), make_states(encoder)
    summed = (head.weights(states).unsqueeze(-1) * states.output).sum(1)
    torch.testing.assert_close(head.select(states), summed)


def test_heads_with_attention_tell_their_weights() -> None:
    weighing = {name for name in ALL_HEADS if hasattr(HEADS[name], "weights")}
    assert weighing - {"attention"} == {"attention_pool", "max_attention_pool"}  # of a decoder


def test_max_attention_pool_has_no_parameters_but_the_projection() -> None:
    head = make_head("max_attention_pool", make_encoder())
    assert {name for name, _ in head.named_parameters()} == {
        "output.project.weight",
        "output.project.bias",
    }


@pytest.mark.parametrize(("options", "width"), [(None, 2 * H), ({"attention_size": 5}, 5)])
def test_attention_size_is_the_width_of_the_hidden_layer(
    options: dict[str, int] | None, width: int
) -> None:
    encoder = make_encoder(bidirectional=True)
    head = make_head("attention_pool", encoder, options=options)
    assert head.hidden.weight.shape == (width, 2 * H)
    assert head.query.weight.shape == (1, width)
    states = make_states(encoder)
    for row, length in enumerate(LENGTHS):
        expected = attention(head, states.output[row, :length], states.h_n[:, :, row])
        torch.testing.assert_close(head.select(states)[row], expected, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- what a head cannot serve


@pytest.mark.parametrize(
    "name", [name for name in CLASSIFIERS if HEADS[name].requires_bidirectional is not None]
)
def test_head_rejects_the_wrong_number_of_directions(name: str) -> None:
    needed = HEADS[name].requires_bidirectional
    message = (
        f"head {name!r} needs a {'bidirectional' if needed else 'one-directional'} encoder"
        f"{HEADS[name].because}: "
        "set model.encoder.bidirectional=null and it gets one, or choose another model.head"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        make_head(name, make_encoder(bidirectional=not needed))


def test_heads_that_read_one_end_say_which_directions_they_need() -> None:
    needs = {name: HEADS[name].requires_bidirectional for name in CLASSIFIERS}
    assert needs["last_hidden"] is False
    assert needs["last_output"] is False
    assert needs["bidirectional_concat"] is True
    assert needs["mean_pool"] is None


@every_head
def test_reads_names_every_tensor_that_select_uses(name: str) -> None:
    encoder = encoder_for(name)
    head, states = make_head(name, encoder), make_states(encoder)
    tensors = {"output": states.output, "h_n": states.h_n, "c_n": states.c_n}
    leaves = {key: tensor.detach().requires_grad_() for key, tensor in tensors.items()}
    head.select(RNNOutput(**leaves, lengths=states.lengths)).square().sum().backward()
    assert {key for key, leaf in leaves.items() if leaf.grad is not None} == set(head.reads)


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_head_that_reads_c_n_rejects_a_cell_without_it(cell: str) -> None:
    class LastCell(Head, name="last_cell"):
        reads = ("c_n",)

        def select(self, states: RNNOutput) -> Tensor:
            assert states.c_n is not None
            return states.c_n[-1, 0]

    message = (
        f"head 'last_cell' reads c_n, which a {cell} does not have: set model.encoder.cell=lstm"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        make_head("last_cell", make_encoder(cell=cell))
    # c_n is hidden_size wide, also where h_n is narrower
    encoder = make_encoder(proj_size=P)
    head, states = make_head("last_cell", encoder), make_states(encoder)
    assert head.output.project.in_features == H
    assert states.c_n is not None
    assert torch.equal(head.select(states), states.c_n[-1, 0])


# ---------------------------------------------------------------- the registry


@every_head
def test_head_is_found_by_its_name(name: str) -> None:
    assert find_head(name) is HEADS[name]
    assert find_head(name).name == name
    assert type(make_head(name, encoder_for(name))) is HEADS[name]


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("max_pol", "max_pool"), ("last_hiden", "last_hidden"), ("attention_pol", "attention_pool")],
)
def test_unknown_head_is_an_error_that_names_the_nearest(wrong: str, nearest: str) -> None:
    message = (
        f"unknown model.head={wrong}: choose one of {', '.join(sorted(HEADS))}; "
        f"did you mean {nearest}?"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        make_head(wrong, make_encoder())


def test_unknown_head_near_to_none_names_them_all() -> None:
    names = ", ".join(sorted(HEADS))
    with pytest.raises(UserError, match=rf"^unknown model.head=zzz: choose one of {names}$"):
        find_head("zzz")


@pytest.mark.parametrize(
    ("name", "offers"),
    [("attention_pool", "choose one of attention_size"), ("mean_pool", "it takes none")],
)
def test_unknown_option_is_an_error_that_names_what_there_is(name: str, offers: str) -> None:
    cls = HEADS[name].__name__
    message = f"model.head_options.width is not an argument of {cls}: {offers}"
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        make_head(name, make_encoder(), options={"width": 3})


def test_two_heads_of_one_name_are_an_error() -> None:
    first = HEADS["max_pool"]
    message = "two heads are called 'max_pool': seqmodels.heads.pooling has one"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):

        class Second(Head, name="max_pool"):
            pass

    assert HEADS["max_pool"] is first


def test_new_head_is_a_name_what_it_reads_and_select() -> None:
    class FirstOutput(Head, name="first_output"):
        reads = ("output",)

        def select(self, states: RNNOutput) -> Tensor:
            return states.output[:, 0]

    encoder = make_encoder(bidirectional=True)
    head, states = make_head("first_output", encoder), make_states(encoder)
    assert isinstance(head, FirstOutput)
    logits = states.output[:, 0] @ head.output.project.weight.T + head.output.project.bias
    torch.testing.assert_close(head(states), logits)


def test_new_head_may_take_options() -> None:
    class Scaled(Head, name="scaled"):
        reads = ("h_n",)

        def build(self, encoder: RecurrentEncoder, scale: float = 1.0) -> None:
            self.scale = scale

        def select(self, states: RNNOutput) -> Tensor:
            return self.scale * states.h_n[-1, 0]

    encoder = make_encoder()
    states = make_states(encoder)
    selected = make_head("scaled", encoder, options={"scale": 3.0}).select(states)
    assert torch.equal(selected, 3.0 * states.h_n[-1, 0])
    with pytest.raises(
        UserError, match=r"options.scal is .*: did you mean model.head_options.scale,"
    ):
        make_head("scaled", encoder, options={"scal": 3.0})


def test_head_without_select_is_an_error_that_says_so() -> None:
    class Empty(Head, name="empty"):
        reads = ("h_n",)

    with pytest.raises(NotImplementedError, match=r"^Empty must define select$"):
        make_head("empty", make_encoder())
