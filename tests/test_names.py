"""docs/names.md: the numbers to check an implementation with are those of PyTorch."""

from __future__ import annotations

import runpy

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.nn.cell import parts_of, state_of
from tests.conftest import ROOT

MADE = runpy.run_path(str(ROOT / "docs" / "vectors.py"))
KINDS, cases, vectors = (MADE[name] for name in ("KINDS", "cases", "vectors"))


@pytest.mark.parametrize("case", [case[0] for case in cases()])
def test_pytorch_gives_the_vectors(case: str) -> None:
    held = {n.partition("/")[2]: v for n, v in vectors().items() if n.startswith(f"{case}/")}
    kind, sizes, _ = case.replace("_proj", "-proj").split("_")
    layers, directions = map(int, sizes.split("x"))
    make, size = KINDS[kind.replace("-", "_")]
    options = {"proj_size": size} if size else {}
    network = make(2, 3, layers, bidirectional=directions == 2, batch_first=True, **options)
    network = network.double()
    network.load_state_dict({n: torch.from_numpy(held[n]) for n in network.state_dict()})
    inputs = torch.from_numpy(held["inputs"]).requires_grad_()
    packed = pack_padded_sequence(
        inputs, torch.from_numpy(held["lengths"]), batch_first=True, enforce_sorted=False
    )
    start = [torch.from_numpy(held[name]) for name in ("h_0", "c_0") if name in held]
    output, final = network(packed, state_of(*start)) if start else network(packed)
    output, _ = pad_packed_sequence(output, batch_first=True)
    tensors = dict(zip(("output", "h_n", "c_n"), (output, *parts_of(final)), strict=False))
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor.detach(), torch.from_numpy(held[name]))
    torch.stack([tensor.square().sum() for tensor in tensors.values()]).sum().backward()
    for name, leaf in {"inputs": inputs, **dict(network.named_parameters())}.items():
        torch.testing.assert_close(leaf.grad, torch.from_numpy(held[f"grad/{name}"]))
