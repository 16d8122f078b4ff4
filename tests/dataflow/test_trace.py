"""What a trace measures, against what theory says of each head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels import tasks
from seqmodels.batch import SequenceBatch
from seqmodels.dataflow import Dataflow, trace
from seqmodels.dataflow.explain import example_batch
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from tests.networks import FEATURES, TOKENS, example_task, noisy_task
from tests.shipped import LANGUAGE_HEADS, SELECTING_HEADS, fitting_directions

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

H, P = 16, 5
B, T, LENGTHS = 5, 7, [7, 4, 1, 6, 2]


def make_task(head: str, **encoder: Any) -> Task:
    torch.manual_seed(0)
    return noisy_task(head, **encoder)


def make_batch(task: Task, lengths: list[int] = LENGTHS) -> SequenceBatch:
    torch.manual_seed(1)
    rows, time = len(lengths), max(lengths)
    by_step = task.contract.per == "step"
    inputs = torch.randint(TOKENS, (rows, time)) if by_step else torch.randn(rows, time, FEATURES)
    return SequenceBatch(inputs, torch.tensor(lengths))


def valid(lengths: list[int] = LENGTHS) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


# What each head must be seen to read: steps of output (B, T), and whether h_n of the last layer.
# The maximum reads some valid steps, and which is up to the numbers.
AT_LAST = torch.arange(T) == torch.tensor(LENGTHS).unsqueeze(1) - 1
THEORY: dict[str, tuple[Tensor, bool]] = {
    **dict.fromkeys(("last_hidden", "bidirectional_concat"), (~valid() & valid(), True)),
    **{"last_output": (AT_LAST, False), "concat_pool": (valid(), True)},
    **dict.fromkeys(("mean_pool", "attention_pool", "max_attention_pool"), (valid(), False)),
    **dict.fromkeys(("every_step", "softmax", "tied_softmax"), (valid(), False)),
}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("name", "bidirectional"),
    [(name, two) for name in SELECTING_HEADS for two in fitting_directions(name)],
)
def test_the_trace_is_what_the_head_declares_and_theory_says(
    name: str, bidirectional: bool, cell: str
) -> None:
    layers, directions = (3 if cell == "lstm" else 1), 2 if bidirectional else 1
    options = {"num_layers": layers, "proj_size": P} if cell == "lstm" else {"cell": cell}
    task = make_task(name, bidirectional=bidirectional, **options)
    seen = trace(task.network, make_batch(task))
    assert {*seen.reads} == {*HEADS[name].reads}
    assert seen.output.shape == (B, T, directions)
    assert seen.finals["h_n"].shape == (B, layers, directions) and ("c_n" in seen.finals) == (
        cell == "lstm"
    )

    read = seen.output > 0  # (B, T, D)
    if name == "max_pool":
        assert not read[~valid()].any() and read.any(dim=1).all()
    else:
        steps, states = THEORY[name]
        assert torch.equal(read, steps.unsqueeze(-1).expand_as(read))
        expected = torch.zeros(B, layers, directions, dtype=torch.bool)
        expected[:, -1] = states
        assert torch.equal(seen.finals["h_n"] > 0, expected)

    # through the network: all valid steps
    if name == "max_pool" and not bidirectional:
        assert not (seen.inputs > 0)[~valid()].any() and (seen.inputs[:, 0] > 0).all()
    else:
        assert torch.equal(seen.inputs > 0, valid())
    assert sum(seen.shares.values()) == pytest.approx(1, abs=1e-5)


def test_shares_equal_the_jacobian() -> None:
    task = make_task("concat_pool", num_layers=2).eval()
    batch, row, length = make_batch(task), 1, LENGTHS[1]
    states = task.network.encoder(task.network.embed(batch), batch.lengths)

    def logits(output: Tensor, h_n: Tensor) -> Tensor:
        return task.network.head(replace(states, output=output, h_n=h_n))

    jacobians = torch.autograd.functional.jacobian(logits, (states.output, states.h_n))
    output = jacobians[0][row, :, row, :length].norm(dim=(0, 2))  # (C, T, H) -> (T)
    h_n = jacobians[1][row, :, -1, 0, row].norm()
    seen = trace(task.network, batch)
    ours = torch.cat([seen.output[row, :length, 0], seen.finals["h_n"][row, -1]])
    theirs = torch.cat([output, h_n.view(1)])
    # ours is an estimate by a few random combinations of four logits
    assert torch.allclose(ours, theirs / theirs.sum(), rtol=0.35)


@pytest.mark.parametrize("head", LANGUAGE_HEADS)
def test_of_a_large_vocabulary_a_leak_is_found_and_the_weights_stay(head: str) -> None:
    torch.manual_seed(0)
    task = tasks.LanguageModel({"num_inputs": 1000}, {"hidden_size": H}, head)
    batch = SequenceBatch(torch.randint(400, 1000, (B, T)), torch.tensor(LENGTHS))
    weights = {name: value.clone() for name, value in task.state_dict().items()}
    seen = trace(task.network, batch)
    assert seen.shapes["logits"] == (B, T, 1000) and seen.reads == ("output",)
    Dataflow()._audit(task, batch)
    network = task.network
    network.encode = lambda batch, state=None, **options: type(network).encode(  # type: ignore[method-assign]
        network, SequenceBatch(batch.inputs.flip(1), batch.lengths), state, **options
    )
    with pytest.raises(UserError, match="head=.*softmax: .*leak"):
        Dataflow()._audit(task, batch)
    assert all(torch.equal(value, weights[name]) for name, value in task.state_dict().items())


@pytest.mark.parametrize("head", ["last_hidden", "every_step"])
def test_before_a_projection_of_zeros_the_steps_that_reach_what_is_selected_count(
    head: str,
) -> None:
    task = example_task("lstm", 1, False, head)
    torch.nn.init.zeros_(task.network.head.output.project.weight)
    seen = trace(task.network, example_batch(task, 3))
    assert seen.reads == HEADS[head].reads and torch.equal(seen.inputs > 0, valid([5, 3]))


@pytest.mark.parametrize(
    ("dtype", "lengths"),
    [
        (torch.float64, LENGTHS),
        (torch.bfloat16, LENGTHS),
        (torch.float32, [90, 3]),  # the gradient at step 0 is about 1e-20, and its square nearly 0
    ],
)
def test_other_types_and_long_sequences(dtype: torch.dtype, lengths: list[int]) -> None:
    task = make_task("last_hidden").to(dtype)
    batch = make_batch(task, lengths)
    seen = trace(task.network, SequenceBatch(batch.inputs.to(dtype), batch.lengths))
    assert seen.reads == ("h_n",) and torch.equal(seen.inputs > 0, valid(lengths))


# ---------------------------------------------------------------- heads of one's own


def own_task(select: Callable[[RNNOutput], Tensor], *declared: Any, **encoder: Any) -> Task:
    """A classifier of three layers, with a head that selects this."""

    class Own(Head, name="own"):
        reads = declared

        def select(self, states: RNNOutput) -> Tensor:
            return select(states)

    return make_task("own", num_layers=3, **encoder)


@pytest.mark.parametrize(
    ("declared", "factor", "found"),
    [
        (("output", "h_n"), 1, "output: declare"),
        (("c_n",), 1, "output: declare"),
        (("output",), 0, "none of the tensors: change select"),
    ],
)
def test_a_declaration_that_gradients_contradict_is_an_error(
    declared: tuple[Any, ...], factor: int, found: str
) -> None:
    task = own_task(lambda states: states.output[:, 0] * factor, *declared)
    with pytest.raises(UserError, match=f"'own' declares reads=.*depend on {found}"):
        trace(task.network, make_batch(task))


def test_a_unit_that_is_flat_here_is_seen_to_be_read() -> None:
    def steep(states: RNNOutput) -> Tensor:  # its gradient is zero nearly everywhere
        return torch.cat([states.output[:, 0], states.h_n[-1, 0].round()], dim=1)

    task = own_task(steep, "output", "h_n")
    seen = trace(task.network, make_batch(task))
    assert seen.shares["h_n"] == 0  # no gradient, and yet no error: a change of h_n moves logits


def test_a_head_may_read_c_n_lower_layers_and_one_direction() -> None:
    def some(states: RNNOutput) -> Tensor:
        assert states.c_n is not None
        first = states.output[:, 0, :H]  # its forward half
        return torch.cat([first, states.h_n[0, 0], states.c_n[-1, 1]], dim=1)

    task = own_task(some, "output", "h_n", "c_n", bidirectional=True)
    seen = trace(task.network, make_batch(task))
    for name, place in (("output", (0, 0)), ("h_n", (0, 0)), ("c_n", (2, 1))):
        # (step or layer, direction)
        assert (seen.cells[name][0] > 0).nonzero().tolist() == [[*place]]


class Gated(Head):
    """The last output, and `h_n` behind something of 0 that training moves."""

    def build(self, encoder: RecurrentEncoder) -> None:
        self.gate = nn.Parameter(torch.zeros(1))  # ReZero
        self.scale = nn.Parameter(-torch.zeros(H))  # LayerScale
        self.partial = nn.Parameter(torch.cat([torch.zeros(H, H), torch.ones(H, H)], dim=1))
        self.first = nn.Linear(H, H, bias=False)
        self.second = nn.Linear(H, H, bias=False)
        nn.init.zeros_(self.first.weight)
        nn.init.zeros_(self.second.weight)
        self.register_buffer("off", torch.zeros(1))

    def hidden(self, states: RNNOutput) -> Tensor:
        return states.h_n[-1, 0]


BEHIND_ZEROS: dict[str, Callable[[Any, RNNOutput], Tensor]] = {
    "gate": lambda head, states: head.gate * head.hidden(states),
    "scale": lambda head, states: head.scale * head.hidden(states),
    "part": lambda head, states: (
        torch.cat([head.hidden(states), states.output[:, 0]], dim=1) @ head.partial.T
    ),
    "two layers": lambda head, states: head.second(head.first(head.hidden(states)).tanh()),
    "two gates": lambda head, states: head.gate * head.scale.sqrt() * head.hidden(states),
}


def gated_task(hidden: Callable[[Any, RNNOutput], Tensor], *declared: Any) -> Task:
    class OwnGated(Gated, name="own_gated"):
        reads = declared

        def select(self, states: RNNOutput) -> Tensor:
            return states.output[:, 0] + hidden(self, states)

    return make_task("own_gated", num_layers=1)


def bits(task: Task) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in task.state_dict().items()}


@pytest.mark.parametrize("name", BEHIND_ZEROS)
def test_a_tensor_behind_parameters_of_0_is_read_and_they_stay_0(name: str) -> None:
    task = gated_task(BEHIND_ZEROS[name], "output", "h_n")
    before = bits(task)
    seen = trace(task.network, make_batch(task))
    assert seen.reads == ("output", "h_n") and bits(task) == before
    with pytest.raises(UserError, match="depend on output and h_n: declare"):
        trace(gated_task(BEHIND_ZEROS[name], "output").network, make_batch(task))


def test_a_tensor_behind_a_buffer_of_0_is_not_read() -> None:
    task = gated_task(lambda head, states: head.off * head.hidden(states), "output", "h_n")
    with pytest.raises(UserError, match="depend on output: declare"):
        trace(task.network, make_batch(task))


@pytest.mark.parametrize("calls", range(5))
def test_an_error_of_a_head_leaves_its_parameters_of_0(calls: int) -> None:
    remaining = calls + 2  # building the task takes the first

    def failing(head: Any, states: RNNOutput) -> Tensor:
        nonlocal remaining
        remaining -= 1
        if not remaining:
            raise RuntimeError("this call fails")
        return head.gate * head.hidden(states).round()

    task = gated_task(failing, "output", "h_n")
    before = bits(task)
    with pytest.raises(RuntimeError, match="this call fails"):
        trace(task.network, make_batch(task))
    assert bits(task) == before
