"""Make rnn_vectors.npz: what LSTM, GRU and RNN give, by a plain loop, to check any implementation.

    python docs/vectors.py rnn_vectors.npz

40 networks with 1 or 2 layers and directions, in float64, as PyTorch names and shapes things
(`batch_first`): `<case>/<array>` of inputs, lengths, h_0, c_0, output, h_n, c_n, the weights by the
names of their `state_dict`, and `grad/<array>`, the gradients of the sum of squares of output, h_n
and c_n.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

REFERENCE = Path(__file__).parents[1] / "tests" / "reference.py"
run_reference = runpy.run_path(str(REFERENCE))["run_reference"]
B, T, F, H = 3, 5, 2, 3
KINDS = {"lstm": (nn.LSTM, 0), "lstm_proj": (nn.LSTM, 2), "gru": (nn.GRU, 0), "rnn": (nn.RNN, 0)}
ROWS = {"full": [T] * B, "ragged": [3, T, 1]}


def cases() -> Iterator[tuple[str, str, list[int], bool]]:
    """The name of each, its kind, the lengths of its rows, and whether it has an initial state."""
    for kind, layers, directions, (rows, lengths) in product(KINDS, (1, 2), (1, 2), ROWS.items()):
        yield f"{kind}_{layers}x{directions}_{rows}", kind, lengths, False
    for kind, layers in product(KINDS, (1, 2)):
        yield f"{kind}_{layers}x1_carried", kind, ROWS["ragged"], True


def arrays(name: str, kind: str, lengths: list[int], carried: bool) -> dict[str, Tensor]:
    """What the file holds of a case."""
    layers, directions = map(int, name.removeprefix(kind).split("_")[1].split("x"))
    make, size = KINDS[kind]
    options = {"num_layers": layers, "bidirectional": directions == 2, "proj_size": size}
    if not size:
        del options["proj_size"]
    weights = {n: w.double() for n, w in make(F, H, **options).state_dict().items()}
    inputs = torch.randn(B, T, F, dtype=torch.float64)
    widths = {"h_0": size or H, **({"c_0": H} if make is nn.LSTM else {})}
    shape = (layers * directions, B)
    start = {n: torch.randn(*shape, width, dtype=torch.float64) for n, width in widths.items()}
    leaves = {"inputs": inputs, **(start if carried else {}), **weights}
    for leaf in leaves.values():
        leaf.requires_grad_()
    given = [*start.values()] if carried else None
    made = run_reference(kind.removesuffix("_proj"), weights, inputs, lengths, given)
    results = {n: t for n, t in zip(("output", "h_n", "c_n"), made, strict=True) if t is not None}
    loss = torch.stack([t.square().sum() for t in results.values()]).sum()
    gradients = torch.autograd.grad(loss, [*leaves.values()])
    of_leaves = {f"grad/{n}": g for n, g in zip(leaves, gradients, strict=True)}
    return {"lengths": torch.tensor(lengths), **leaves, **results, **of_leaves}


@cache
def vectors() -> dict[str, np.ndarray]:
    """The whole file."""
    torch.manual_seed(0)
    made = {case[0]: arrays(*case) for case in cases()}
    return {
        f"{case}/{n}": t.detach().numpy()
        for case, all_of in made.items()
        for n, t in all_of.items()
    }


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **vectors())
