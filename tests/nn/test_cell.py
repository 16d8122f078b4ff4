"""Cells of your own against `nn.LSTM` and `nn.GRU`, and in every task."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels.audit import audit
from seqmodels.batch import PairBatch
from seqmodels.dataflow.explain import example_batch
from seqmodels.dataflow.tracing import trace
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.nn.cell import Cell
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.state import parts_of, state_of
from seqmodels.tasks import TASKS
from tests.conftest import Refused
from tests.networks import example_task, fits
from tests.shipped import ALL_HEADS

F, H, B, T = 4, 6, 5, 9
LENGTHS = {"ragged": [3, 7, 1, 7, 2], "equal": [9] * 5}


class OwnLSTM(Cell):
    """By hand, with the weights of an `nn.LSTMCell`."""

    has_cell_state = True

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

    class OfTorch(Cell, nn.LSTMCell, name="torch_lstm"):
        pass

    class OfTorchToo(Cell, nn.GRUCell, name="torch_gru"):
        pass


def encoders(name: str, num_layers: int, bidirectional: bool) -> tuple[RecurrentEncoder, Any]:
    """An encoder of cells of one's own, and PyTorch's own network with the same weights."""
    torch.manual_seed(0)
    options: Any = {"num_layers": num_layers, "bidirectional": bidirectional}
    own = RecurrentEncoder(F, H, cell=name, **options).double()
    kind = nn.GRU if name.endswith("gru") else nn.LSTM
    reference = kind(F, H, batch_first=True, **options).double()
    weights = {  # l0_reverse.weight_ih -> weight_ih_l0_reverse
        "{1}_{0}".format(*key.split(".")): value for key, value in own.rnn.state_dict().items()
    }
    reference.load_state_dict(weights)
    return own, reference


def by_packing(rnn: Any, inputs: Tensor, lengths: Tensor, state: Any) -> list[Tensor]:
    """`output`, `h_n` and `c_n` of `nn.LSTM` or `nn.GRU`."""
    packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, True, enforce_sorted=False)
    output, final = rnn(packed, state)
    output, _ = nn.utils.rnn.pad_packed_sequence(output, True, total_length=T)
    return [output, *parts_of(final)]


def flat(result: RNNOutput) -> list[Tensor]:
    return [result.output, *parts_of(result.state)]


@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("name", ["own_lstm", "torch_lstm", "torch_gru"])
def test_a_cell_of_ones_own_equals_pytorchs(
    name: str, num_layers: int, bidirectional: bool, lengths: str, with_state: bool
) -> None:
    own, reference = encoders(name, num_layers, bidirectional)
    inputs, own_lengths = torch.randn(B, T, F).double(), torch.tensor(LENGTHS[lengths])
    rows = num_layers * (2 if bidirectional else 1)
    start = [torch.randn(rows, B, H).double() for _ in range(1 if name == "torch_gru" else 2)]
    found = []
    for run, rnn in ((own, own.rnn), (partial(by_packing, reference), reference)):
        leaves = [tensor.clone().requires_grad_() for tensor in (inputs, *start)]
        tensors = run(leaves[0], own_lengths, state_of(*leaves[1:]) if with_state else None)
        tensors = flat(tensors) if isinstance(tensors, RNNOutput) else tensors
        torch.manual_seed(1)  # each element of each tensor has a weight of its own
        sum((tensor * torch.randn(tensor.shape)).sum() for tensor in tensors).backward()
        named = {"_".join(reversed(n.split("."))): p.grad for n, p in rnn.named_parameters()}
        weights = [named[key] for key in sorted(named)]
        found.append([*tensors, *(leaf.grad for leaf in leaves if leaf.grad is not None), *weights])
    assert len(found[0]) == len(found[1])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_padding_has_no_effect_on_a_cell_of_ones_own() -> None:
    """Neither on one that divides by its input, which must be no zero then."""

    class Normed(OwnLSTM, name="normed"):
        def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return super().forward(x / x.norm(dim=1, keepdim=True), state)

    for cell in ("own_lstm", "normed"):
        encoder, lengths = RecurrentEncoder(F, H, 2, cell=cell, bidirectional=True), [3, 7, 1]
        inputs = torch.randn(3, T, F)
        for row, length in enumerate(lengths):
            inputs[row, length:] = torch.nan
        result = encoder(inputs.requires_grad_(), torch.tensor(lengths))
        sum(tensor.sum() for tensor in flat(result)).backward()
        gradients = [leaf.grad for leaf in (inputs, *encoder.parameters())]
        assert all(bool(tensor.isfinite().all()) for tensor in (*flat(result), *gradients))
        assert not result.output[~result.mask].any() and not gradients[0][~result.mask].any()


@pytest.mark.parametrize("locked", [False, True], ids=["each step", "locked"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_dropout_between_layers_of_a_cell_of_ones_own(lengths: str, locked: bool) -> None:
    class Copy(Cell, name="copy"):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return x

        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()

    width = 50
    encoder = RecurrentEncoder(width, width, 2, cell="copy", dropout=0.5, locked_dropout=locked)
    torch.manual_seed(0)
    own_lengths = torch.tensor(LENGTHS[lengths])
    output = encoder(torch.ones(B, T, width), own_lengths).output
    assert set(output.unique().tolist()) == {0.0, 2.0}
    for row, length in zip(output, own_lengths, strict=True):
        same = bool((row[:length] == row[0]).all())
        assert same == (locked or int(length) == 1)
    assert not torch.equal(output[0, 0], output[1, 0])
    assert encoder.eval()(torch.ones(B, T, width)).output.eq(1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_size": 2}, "proj_size is 2: only cell=lstm has projections"),
        ({"cell": "torch_gur"}, "cell=torch_gur: choose one of .*gru, .*did you mean torch_gru[?]"),
    ],
)
def test_what_a_cell_cannot_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        RecurrentEncoder(F, H, **{"cell": "torch_gru", **options})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("lengths", [[T + 1, 3], [0, 3]])
def test_lengths_that_cannot_be_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^lengths must lie in 1\.\.\d+"):
        RecurrentEncoder(F, H, cell="torch_gru")(torch.randn(2, T, F), lengths)


def test_two_cells_of_one_name_are_refused() -> None:
    for name in ("lstm", "own_lstm"):
        with pytest.raises(ValueError, match=f"two cells are called '{name}'"):

            class Again(Cell, name=name):
                pass


def test_the_same_lines_may_define_a_cell_again() -> None:
    """As in a notebook, whose cell is run twice: the second counts."""

    def run() -> type[Cell]:
        class Twice(Cell, nn.GRUCell, name="twice"):
            pass

        return Twice

    assert run() is not (second := run())
    assert type(RecurrentEncoder(F, H, cell="twice").rnn.l0) is second


# ---------------------------------------------------------------- in the house


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_every_head_of_every_task_reads_cells_of_ones_own(task: type[Task]) -> None:
    refused = []
    for cell in ("own_lstm", "torch_gru"):
        for head in (head for head in ALL_HEADS if fits(head, task)):
            try:
                model = example_task(cell, 2, None, head, task, hidden_size=20)
            except UserError as error:
                refused.append(f"{cell} {error}")
                continue
            batch, kind, more = example_batch(model, 3, 4), model.contract.per, None
            assert set(trace(model, batch).reads) == set(model.head.reads)
            if cell == "torch_gru":
                continue
            if isinstance(batch, PairBatch):
                kind, more = "seq2seq", batch.target.inputs
            kind = "per_step" if kind == "step" else kind
            found = audit(
                model.as_function(),
                batch.inputs,
                batch.lengths,
                kind,
                model.contract.causal,
                target_inputs=more,
            )
            assert [f for f in found.findings if f.severity == "error"] == [], head
            if isinstance(batch, PairBatch) or batch.inputs.is_floating_point():
                model.head.decode(model.encode(batch))
    assert all("torch_gru head" in line and "reads c_n" in line for line in refused)


def test_the_audit_looks_inside_a_cell_of_ones_own() -> None:
    class BackwardOnly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = RecurrentEncoder(F, H, cell="own_lstm", bidirectional=True)
            self.classify = nn.Linear(H, 3)

        def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
            return self.classify(self.encoder(inputs, lengths).h_n[-1, 1])

    found = audit(BackwardOnly(), torch.randn(B, T, F), torch.tensor(LENGTHS["ragged"]))
    assert found.names == ["unread_direction"]


@pytest.mark.usefixtures("examples_importable")
def test_a_mistyped_cell_is_one_line(refused: Refused) -> None:
    line = refused("train.py", "imports=[examples.minimal_gru]", "model.head=mgu")
    assert "mgu, " not in line  # a cell is not a head
    assert "model.head=mgu" in line
    line = refused("train.py", "imports=[examples.minimal_gru]", "model.encoder.cell=mug")
    assert "model.encoder.cell=mug: choose one of gru, lstm, mgu" in line
