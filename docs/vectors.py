"""Make rnn_vectors.npz: what LSTM, GRU and RNN give, by a plain loop, to check any implementation.

    python docs/vectors.py rnn_vectors.npz

60 networks in float64, as PyTorch names and shapes things (`batch_first`): `<case>/<array>` of
inputs, lengths, h_0, c_0, output, h_n, c_n, the weights by the names of their `state_dict`, and
`grad/<array>`, the gradients of the sum of squares of output, h_n and c_n. A case is named
`<kind>_<layers>x<directions>_<rows>`:

- `full`, `ragged`: 3 rows of one length, or of several; with 1, 2 or 3 layers. A mask that is lost
  between two layers shows in `h_n` of `2x1_ragged`.
- `carried`: ragged rows that start from `h_0` and `c_0`.
- `resets`: the same with `resets` `(B, T)`: where it is True, the state of all layers is set to
  zero before the step.
- `101rows`: more rows than some kernels handle in one block.

Steps after a row's end hold random inputs, and zeros in `output`.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

REFERENCE = Path(__file__).parents[1] / "tests" / "reference.py"
run_reference = runpy.run_path(str(REFERENCE))["run_reference"]
F, H = 2, 3  # features and units
KINDS = {"lstm": (nn.LSTM, 0), "lstm_proj": (nn.LSTM, 2), "gru": (nn.GRU, 0), "rnn": (nn.RNN, 0)}
LENGTHS = {
    "full": [5, 5, 5],
    "ragged": [3, 5, 1],
    "carried": [3, 5, 1],
    "resets": [3, 5, 1],
    "101rows": [2, 1] * 50 + [2],
}
# By row: the steps before which the state is set to zero.
RESETS = {0: [2], 1: [1, 4], 2: [0]}


@dataclass(frozen=True)
class Case:
    """A network, and the rows that it reads."""

    kind: str
    num_layers: int
    num_directions: int
    rows: str

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.num_layers}x{self.num_directions}_{self.rows}"

    @property
    def cell(self) -> str:
        return self.kind.removesuffix("_proj")

    @property
    def lengths(self) -> list[int]:
        return LENGTHS[self.rows]

    @property
    def is_carried(self) -> bool:
        return self.rows in ("carried", "resets")

    def network(self) -> nn.LSTM | nn.GRU | nn.RNN:
        """PyTorch's own, with new weights in float64."""
        make, projection_size = KINDS[self.kind]
        options = {"proj_size": projection_size} if projection_size else {}
        network = make(
            F,
            H,
            self.num_layers,
            bidirectional=self.num_directions == 2,
            batch_first=True,
            **options,
        )
        return network.double()

    def resets(self) -> Tensor:
        """`(B, T)`, True where the state is set to zero before a step."""
        resets = torch.zeros(len(self.lengths), max(self.lengths), dtype=torch.bool)
        if self.rows == "resets":
            for row, steps in RESETS.items():
                resets[row, steps] = True
        return resets


def cases() -> Iterator[Case]:
    """All of them. Add new ones at the end, so that the numbers of the others stay."""
    for kind, layers, directions, rows in product(KINDS, (1, 2), (1, 2), ("full", "ragged")):
        yield Case(kind, layers, directions, rows)
    for kind, layers in product(KINDS, (1, 2)):
        yield Case(kind, layers, 1, "carried")
    for kind, directions in product(KINDS, (1, 2)):
        yield Case(kind, 3, directions, "ragged")
    for kind in KINDS:
        yield Case(kind, 1, 1, "101rows")
    for kind, layers in product(KINDS, (1, 2)):
        yield Case(kind, layers, 1, "resets")


def arrays(case: Case) -> dict[str, Tensor]:
    """What the file holds of a case."""
    weights = case.network().state_dict()
    batch, time = len(case.lengths), max(case.lengths)
    inputs = torch.randn(batch, time, F, dtype=torch.float64)
    # Every case draws a state, also one that starts from zero.
    widths = {"h_0": KINDS[case.kind][1] or H}
    if case.cell == "lstm":
        widths["c_0"] = H
    shape = (case.num_layers * case.num_directions, batch)
    start = {name: torch.randn(*shape, n, dtype=torch.float64) for name, n in widths.items()}
    leaves = {"inputs": inputs, **(start if case.is_carried else {}), **weights}
    for leaf in leaves.values():
        leaf.requires_grad_()
    state = [*start.values()] if case.is_carried else None
    tensors = run_with_resets(case, weights, inputs, state)
    results = {
        name: tensor
        for name, tensor in zip(("output", "h_n", "c_n"), tensors, strict=True)
        if tensor is not None
    }
    loss = torch.stack([tensor.square().sum() for tensor in results.values()]).sum()
    gradients = torch.autograd.grad(loss, [*leaves.values()])
    named_gradients = {f"grad/{name}": g for name, g in zip(leaves, gradients, strict=True)}
    facts = {"lengths": torch.tensor(case.lengths)}
    if case.rows == "resets":
        facts["resets"] = case.resets()
    return {**facts, **leaves, **results, **named_gradients}


def run_with_resets(
    case: Case, weights: dict[str, Tensor], inputs: Tensor, state: Sequence[Tensor] | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`output`, `h_n` and `c_n` of a case. A row is read in pieces, each of which starts from zero
    where a reset stands before it."""
    if case.rows != "resets":
        return run_reference(case.cell, weights, inputs, case.lengths, state)
    outputs, h_n, c_n = [], [], []
    for row, (length, resets) in enumerate(zip(case.lengths, case.resets(), strict=True)):
        bounds = sorted({0, length, *resets.nonzero().flatten().tolist()})
        pieces = []
        for first, end in pairwise(bounds):
            start = None
            if state is not None and not resets[first]:
                start = [part[:, row : row + 1] for part in state]
            piece, *final = run_reference(
                case.cell, weights, inputs[row : row + 1, first:end], [end - first], start
            )
            pieces.append(piece[0])
        padding = pieces[0].new_zeros(inputs.shape[1] - length, pieces[0].shape[1])
        outputs.append(torch.cat([*pieces, padding]))
        h_n.append(final[0])
        c_n.append(final[1])
    if case.cell == "lstm":
        return torch.stack(outputs), torch.cat(h_n, dim=1), torch.cat(c_n, dim=1)
    return torch.stack(outputs), torch.cat(h_n, dim=1), None


@cache
def vectors() -> dict[str, np.ndarray]:
    """The whole file."""
    torch.manual_seed(0)
    arrays_by_name = {}
    for case in cases():
        for name, tensor in arrays(case).items():
            arrays_by_name[f"{case.name}/{name}"] = tensor.detach().numpy()
    return arrays_by_name


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **vectors())
