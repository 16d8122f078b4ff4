"""Cells of your own against `nn.LSTM` and `nn.GRU`, and in every kind of task."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from seqmodels.audit import assert_clean, audit
from seqmodels.batch import PairBatch, SequenceBatch
from seqmodels.dataflow.diagram import draw, to_svg
from seqmodels.dataflow.explain import example_batch
from seqmodels.dataflow.tracing import trace
from seqmodels.errors import UserError
from seqmodels.heads import Head
from seqmodels.nn.cell import Cell, state_of
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from tests.networks import example_task
from tests.nn.cases import Case, F, H, cases, parts, same, small_encoder
from tests.shipped import DECODER_HEADS, LANGUAGE_HEADS

B, T = 5, 9
OWN = (("own_lstm", 0), ("torch_gru", 0))


class OwnLSTM(Cell):
    """By hand, with the weights of an `nn.LSTMCell`."""

    states = ("h", "c")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.randn(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.randn(4 * hidden_size, hidden_size))
        self.bias_ih, self.bias_hh = (nn.Parameter(torch.randn(4 * hidden_size)) for _ in "ih")

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        gates = x @ self.weight_ih.T + h @ self.weight_hh.T + self.bias_ih + self.bias_hh
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


@pytest.fixture(autouse=True)
def own_cells(modules_of_their_own: None) -> None:
    class Own(OwnLSTM, name="own_lstm"):
        pass

    class OfTorch(Cell, nn.GRUCell, name="torch_gru"):
        pass

    class OwnFour(Four, name="four"):
        pass


@settings(max_examples=50)
@given(case=cases(*OWN))
def test_a_cell_of_ones_own_gives_what_pytorchs_gives_for_packed_rows(case: Case) -> None:
    case.make()
    states, gradients = case.run("auto")
    own = [*case.encoder.parameters()]  # in the order of PyTorch's own
    cell = case.cell[0].rpartition("_")[2]
    case.encoder = small_encoder(cell, case.layers, bidirectional=case.two).double()
    for theirs, mine in zip(case.encoder.parameters(), own, strict=True):
        theirs.data = mine.data
    wanted_states, wanted = case.run("packed")
    same(parts(states), parts(wanted_states))
    for one, other in zip(gradients, wanted, strict=True):
        same(one, other, 1e-9)


class Four(Cell):
    """Four states, each with a width of its own; what the next layer reads is none of them."""

    states = ("h", "c", "n", "m")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.widths = {"c": 2 * hidden_size, "m": 3}
        self.to_h = nn.Linear(input_size + 3 * hidden_size, hidden_size)
        self.to_c = nn.Linear(input_size + hidden_size, 2 * hidden_size)
        self.to_m = nn.Linear(hidden_size + 3, 3)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c, n, m = state
        c = 0.5 * c + self.to_c(torch.cat([x, h], dim=1)).tanh()
        h = self.to_h(torch.cat([x, c, n], dim=1)).tanh()
        return h, c, (n + h.square()) / 2, self.to_m(torch.cat([h, m], dim=1)).tanh()

    def output(self, state: tuple[Tensor, ...]) -> Tensor:
        h, _, _, m = state
        return torch.cat([m, 2 * h], dim=1)


@settings(max_examples=50)
@given(case=cases(("four", 0)))
def test_named_states_of_a_row_are_those_of_the_row_alone(case: Case) -> None:
    case.make()
    states, _ = case.run("auto")
    names = [f"{name}_n" for name in Four.states]
    assert [*states.finals] == [*case.encoder.state_sizes] == names
    assert states.output.shape[2] == case.encoder.num_directions * (3 + H)
    for row, length in enumerate(case.lengths):
        start = state_of(*(part[:, [row]] for part in case.start)) if case.start else None
        alone = case.encoder(case.inputs[[row], :length], state=start)
        same(states.output[[row], :length], alone.output)
        for name in names:
            same(states.finals[name][:, :, [row]], alone.finals[name])
    assert not states.output[~states.mask].any()


def test_every_state_is_carried_to_the_next_steps() -> None:
    task = example_task("four", 2, False, "last_hidden", hidden_size=4).eval()
    batch = example_batch(task, 3, 4)
    time = batch.inputs.shape[1]
    whole = task.network.encode(SequenceBatch(batch.inputs, torch.full((3,), time)))
    carried: tuple[Tensor, ...] = ()
    for chunk in batch.inputs.split([3, time - 3], dim=1):
        states, carried = task.network.carry(SequenceBatch(chunk, [chunk.shape[1]] * 3), carried)
    assert len(carried) == len(Four.states)
    for name, final in whole.finals.items():
        same(states.finals[name], final, 1e-6)


@pytest.mark.parametrize("head", DECODER_HEADS)
def test_a_decoder_starts_from_every_state_and_the_picture_shows_them(head: str) -> None:
    task = example_task("four", 2, False, head, hidden_size=4)
    seen = trace(task.network, example_batch(task, 3, 4))
    assert {*seen.reads} - {"output"} == {*seen.finals} == {*task.network.encoder.state_sizes}
    text = to_svg(draw(task, seen, row=1))
    assert all(name in text for name in seen.finals)


def test_a_head_may_read_any_state_by_name() -> None:
    class Reader(Head, name="reads_m"):
        reads = ("m_n",)

        def select(self, states: RNNOutput) -> Tensor:
            return states.finals["m_n"][-1, 0]

    task = example_task("four", 2, False, "reads_m")
    seen = trace(task.network, example_batch(task, 3, 4))
    assert seen.reads == ("m_n",) and bool((seen.finals["m_n"] > 0)[:, -1].all())
    with pytest.raises(UserError, match="reads m_n, which a gru does not have"):
        example_task("gru", 2, False, "reads_m")


@pytest.mark.parametrize("locked", [False, True], ids=["each step", "locked"])
def test_dropout_between_layers_of_a_cell_of_ones_own(locked: bool) -> None:
    class Copy(Cell, name="copy"):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return x

        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()

    width = 50
    encoder = RecurrentEncoder(width, width, 2, cell="copy", dropout=0.5, locked_dropout=locked)
    for lengths in ([3, 7, 1, 7, 2], [T] * B):
        output = encoder(torch.ones(B, T, width), lengths).output
        assert set(output.unique().tolist()) == {0.0, 2.0}
        for row, length in zip(output, lengths, strict=True):
            same_at_every_step = bool((row[:length] == row[0]).all())
            assert same_at_every_step == (locked or length == 1)
        assert not torch.equal(output[0, 0], output[1, 0])
    assert encoder.eval()(torch.ones(B, T, width)).output.eq(1).all()


def test_two_cells_of_one_name_are_refused_but_the_same_lines_may_run_again() -> None:
    with pytest.raises(ValueError, match="two cells are called 'lstm'"):

        class Again(Cell, name="lstm"):
            pass

    def run() -> type[Cell]:  # as a notebook's cell
        class Twice(Cell, nn.GRUCell, name="twice"):
            pass

        return Twice

    assert run() is not (second := run())
    assert type(small_encoder("twice").rnn.l0) is second


@pytest.mark.parametrize("head", ["bidirectional_concat", *LANGUAGE_HEADS[:1], *DECODER_HEADS[:1]])
def test_a_task_of_every_kind_reads_a_cell_of_ones_own(head: str) -> None:
    task = example_task("own_lstm", 2, None, head, hidden_size=20)
    batch, kind, more = example_batch(task, 3, 4), task.contract.per, None
    if isinstance(batch, PairBatch):
        kind, more = "seq2seq", batch.target.inputs
        task.network.head.decode(task.network.encode(batch))
    assert_clean(
        task.network,
        batch.inputs,
        batch.lengths,
        "per_step" if kind == "step" else kind,
        task.contract.causal,
        target_inputs=more,
    )


def test_the_audit_looks_inside_a_cell_of_ones_own() -> None:
    class BackwardOnly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = small_encoder("own_lstm", bidirectional=True)
            self.classify = nn.Linear(H, 3)

        def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
            return self.classify(self.encoder(inputs, lengths).h_n[-1, 1])

    found = audit(BackwardOnly(), torch.randn(B, T, F), torch.tensor([3, 7, 1, 7, 2]))
    assert found.names == ["unread_direction"]
