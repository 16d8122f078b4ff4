"""What else an accelerator must do as the CPU does: packed rows, very long ones, the audit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels.audit import audit
from seqmodels.engine import Task
from seqmodels.nn import ragged
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.ragged import MOST_STEPS, side_by_side
from tests.device.cases import PAIRS, batch_for, made

pytestmark = pytest.mark.device

ONE_EACH = [*{kind: (kind, head) for kind, head in PAIRS}.values()]
LENGTHS = torch.tensor([7, 1, 4])


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:LSTM with projections")  # of the CPU
@pytest.mark.parametrize("lengths", [LENGTHS, torch.full((3,), 7)], ids=["ragged", "equal"])
@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lstm", "bidirectional": True},
        {"cell": "lstm", "proj_size": 3},
        {"cell": "gru", "bidirectional": True},
        {"cell": "rnn"},
    ],
    ids=lambda x: "-".join(map(str, x.values())),
)
def test_packed_and_padded_rows_agree_with_the_cpu(
    options: dict[str, Any], lengths: Tensor, device: torch.device
) -> None:
    torch.manual_seed(0)
    inputs, state = torch.randn(3, 7, 5), None
    for start in (False, True):
        found = {}
        for packing in ("packed", "padded"):
            torch.manual_seed(1)
            encoder = RecurrentEncoder(5, 6, 2, packing=packing, **options)  # type: ignore[arg-type]
            for place in (torch.device("cpu"), device):
                given = state and tuple(part.to(place) for part in state)
                given = given[0] if given and options["cell"] != "lstm" else given
                states = encoder.to(place)(inputs.to(place), lengths, state=given)
                found[packing, place.type] = {k: v.cpu() for k, v in states.tensors.items()}
        first, *others = found.values()
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-3, atol=1e-3)
        if not start:
            finals = [v for k, v in first.items() if k != "output"]
            state = tuple(part.flatten(0, 1) for part in finals)


@pytest.mark.parametrize(
    ("lengths", "width"), [(LENGTHS, 8), (torch.full((3,), 7), 5)], ids=["ragged", "equal"]
)
def test_an_lstm_reads_a_width_for_tensor_cores_or_its_own(
    lengths: Tensor, width: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths, lstm = list[int](), ragged.CALLS["LSTM"]

    def seen(inputs: Tensor, *others: Any) -> Any:
        widths.append(inputs.shape[2])
        return lstm(inputs, *others)

    monkeypatch.setattr(ragged, "CALLS", {**ragged.CALLS, "LSTM": seen})
    encoder = RecurrentEncoder(5, 6, 2, dropout=0.3).to(device).train()  # layer by layer
    encoder(torch.randn(3, 7, 5).to(device), lengths)
    assert widths == [width, 8 if width == 8 else 6]


def test_rows_of_more_steps_than_cudnn_takes(device: torch.device) -> None:
    steps, encoder = MOST_STEPS + 10, RecurrentEncoder(2, 3).to(device)
    inputs = torch.randn(2, steps, 2, device=device)
    with torch.no_grad():
        for lengths in (torch.tensor([steps, 5]), torch.full((2,), steps)):
            whole = encoder(inputs, lengths)
            half = encoder(inputs[:1, : steps // 2])
            rest = encoder(inputs[:1, steps // 2 :], state=half.state)
            expected = rest.output[0, -1].cpu()
            torch.testing.assert_close(whole.output[0, -1].cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("kind", "head"), ONE_EACH, ids=lambda x: getattr(x, "__name__", x))
def test_pin_memory_pins_every_tensor_that_travels(
    kind: type[Task], head: str, device: torch.device
) -> None:
    pinned = batch_for(made(kind, head, {})).pin_memory()
    for side in (pinned, getattr(pinned, "target", pinned)):
        held = (side.inputs, side.lengths, side.targets, side.scale)
        assert all(tensor.is_pinned() for tensor in held if tensor is not None)


class LastColumn(nn.Module):
    """A mistake to be found: `output[:, -1]` of two directions, on padded rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 8, batch_first=True, bidirectional=True)
        self.project = nn.Linear(16, 2)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.project(self.rnn(inputs)[0][:, -1])


def test_the_audit_finds_a_mistake(device: torch.device) -> None:
    model, state = LastColumn().to(device), torch.get_rng_state()
    drawn = torch.get_device_module(device).get_rng_state()
    found = audit(model, torch.randn(3, 5, 3).to(device), torch.tensor([5, 3, 2]))
    assert found.names == ["padding_leak", "truncated_direction"]
    torch.set_rng_state(state)
    torch.randn(3, 5, 3)
    assert torch.equal(torch.get_device_module(device).get_rng_state(), drawn)


@pytest.mark.parametrize(("kind", "head"), ONE_EACH, ids=lambda x: getattr(x, "__name__", x))
def test_the_audit_accuses_nobody(kind: type[Task], head: str, device: torch.device) -> None:
    task = made(kind, head, {"num_layers": 1}).to(device)
    batch = batch_for(task)
    how: dict[str, Any] = {"kind": "per_step" if task.contract.per == "step" else "sequence"}
    if task.contract.kind.decoder:
        how = {"kind": "seq2seq", "target_inputs": batch.target.inputs.to(device)}  # type: ignore[attr-defined]
    how["causal"] = task.contract.causal
    found = audit(task.network, batch.inputs.to(device), batch.lengths, **how, thorough=False)
    assert found.names == []


def test_weights_lie_as_cudnn_expects_them() -> None:
    """All matrices of all layers, then all biases, as PyTorch's own `flatten_parameters`."""
    lstm = nn.LSTM(3, 8, 2, bidirectional=True, proj_size=4)
    placed = side_by_side(lstm._flat_weights)
    assert all(torch.equal(a, b) for a, b in zip(placed, lstm._flat_weights))
    where = {w.data_ptr(): name for w, name in zip(placed, lstm._flat_weights_names)}
    names = [where[each] for each in sorted(where)]
    assert names == sorted(lstm._flat_weights_names, key=lambda name: name.startswith("bias"))
