"""A task as a program for PyTorch alone: `torch.export.load("model.pt2").module()`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.export.graph import trace
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.ragged import run_padded
from seqmodels.nn.state import State, parts_of

# `torch.export` unrolls these, which fixes the number of steps. So a program is traced with
# operators of ours in their place, of which it knows the shapes alone, and gets these afterwards
UNROLLED = {
    "LSTM": torch.ops.aten.lstm.input,
    "GRU": torch.ops.aten.gru.input,
    "RNN_TANH": torch.ops.aten.rnn_tanh.input,
}
_LIBRARY = torch.library.Library("seqmodels", "DEF")


def _shapes(steps: Tensor, state: Tensor | list[Tensor], *_: Any) -> tuple[Tensor, ...]:
    """`output` `(T, B, H)` and the final states of a layer, for a tracer."""
    parts = [state] if isinstance(state, Tensor) else state
    output = steps.new_empty(*steps.shape[:2], parts[0].shape[-1])
    return output, *(torch.empty_like(part) for part in parts)


def _stand_in(mode: str) -> Any:
    schema = str(UNROLLED[mode]._schema)
    _LIBRARY.define(mode + schema[schema.index("(") :])
    torch.library.register_fake(f"seqmodels::{mode}", _shapes, lib=_LIBRARY)
    return getattr(torch.ops.seqmodels, mode).default


STAND_INS = {mode: _stand_in(mode) for mode in UNROLLED}


class PaddedEncoder(nn.Module):
    """A `RecurrentEncoder` for `torch.export`: each layer and direction is one call on padded rows.

    Raises:
        UserError: for a cell of your own.
    """

    def __init__(self, encoder: RecurrentEncoder) -> None:
        super().__init__()
        self.rnn: Any = encoder.rnn
        if not isinstance(self.rnn, nn.RNNBase):
            raise UserError(
                f"a program has no loop for encoder.cell={encoder.cell}, which is your own: "
                "use format=safetensors"
            )
        self.layout = (encoder.num_layers, encoder.num_directions)

    def forward(self, inputs: Tensor, lengths: Tensor, state: State | None = None) -> RNNOutput:
        output, final = run_padded(self.rnn, inputs, lengths, state, traced=STAND_INS)
        h_n, *c_n = (part.unflatten(0, self.layout) for part in parts_of(final))
        return RNNOutput(output, h_n, c_n[0] if c_n else None, lengths)


def write_program(task: Task, folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes `model.pt2`, an `ExportedProgram` that takes what the ONNX graph takes, in its order.

    Args:
        facts: plain values, for the file's own `model.json`.

    Raises:
        UserError: for a task that cannot be exported, with the reason.
    """
    program = trace(task, PaddedEncoder)
    unrolled = {STAND_INS[mode]: UNROLLED[mode] for mode in UNROLLED}
    for node in program.graph.nodes:
        node.target = unrolled.get(node.target, node.target)
    text = json.dumps(facts, ensure_ascii=False)
    torch.export.save(program, folder / "model.pt2", extra_files={"model.json": text})
