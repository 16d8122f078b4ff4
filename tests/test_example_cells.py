"""The cells in `examples/` against computations of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.plugins import import_module
from tests.conftest import Script

B, T, F, H = 3, 200, 5, 4
CELLS = ("slstm", "minlstm", "layer_norm_lstm")


@pytest.fixture(autouse=True)
def cells(modules_of_their_own: None) -> None:
    for name in CELLS:
        import_module(f"examples.{name}", "imports")


def built(cell: str, **options: Any) -> tuple[RecurrentEncoder, Tensor]:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(F, H, cell=cell, **options).double()
    return encoder, torch.randn(B, T, F, dtype=torch.float64)


def test_slstm_is_its_equations_without_a_stabiliser() -> None:
    encoder, inputs = built("slstm")
    found, gates = encoder(inputs), encoder.rnn.l0.gates  # type: ignore[union-attr]
    h = c = n = torch.zeros(B, H, dtype=torch.float64)
    for step, x in enumerate(inputs.unbind(1)):
        i, f, z, o = gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.exp() * z.tanh()
        n = f.sigmoid() * n + i.exp()
        h = o.sigmoid() * c / n
        torch.testing.assert_close(found.output[:, step], h, rtol=1e-10, atol=1e-10)
    m = found.finals["m_n"][0, 0].exp()
    torch.testing.assert_close(found.finals["n_n"][0, 0] * m, n)


def test_slstm_stays_finite_where_its_exponentials_would_not() -> None:
    encoder, inputs = built("slstm")
    states = encoder(1e3 * inputs.requires_grad_())
    assert bool(states.output.isfinite().all()) and bool((states.output.abs() <= 1).all())
    states.output.sum().backward()
    assert inputs.grad is not None and bool(inputs.grad.isfinite().all())


@pytest.mark.parametrize("windows", [1, 2, 7])
def test_minlstm_at_once_is_minlstm_step_by_step(
    windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, inputs = built("minlstm", num_layers=2)
    found, state = [], None
    for window in inputs.tensor_split(windows, dim=1):
        states = encoder(window, None, state)
        found.append(states.output)
        state = states.state
    monkeypatch.setattr(type(encoder.rnn.l0), "parallel", lambda *_: None)
    wanted = encoder(inputs)
    torch.testing.assert_close(torch.cat(found, dim=1), wanted.output, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(state, wanted.state, rtol=1e-6, atol=1e-6)


def test_minlstm_is_its_definition() -> None:
    encoder, inputs = built("minlstm")
    cell: Any = encoder.rnn.l0
    h = torch.zeros(B, H, dtype=torch.float64)
    for x in inputs.unbind(1):
        f, i, candidate = cell.gates(x).chunk(3, dim=1)
        f, i = f.sigmoid(), i.sigmoid()
        positive = torch.where(candidate >= 0, candidate + 0.5, candidate.sigmoid())
        h = (f * h + i * positive) / (f + i)
    torch.testing.assert_close(encoder(inputs).h_n[0, 0], h)


def test_layer_norm_lstm_is_its_equations() -> None:
    encoder, inputs = built("layer_norm_lstm")
    cell: Any = encoder.rnn.l0
    for norm in (cell.norm_x, cell.norm_h, cell.norm_c):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)

    def normed(values: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
        centered = values - values.mean(1, keepdim=True)
        deviation = (centered.square().mean(1, keepdim=True) + norm.eps).sqrt()
        return centered / deviation * norm.weight + norm.bias

    h = c = torch.zeros(B, H, dtype=torch.float64)
    for x in inputs.unbind(1):
        of_x, of_h = x @ cell.of_x.weight.T, h @ cell.of_h.weight.T
        i, f, g, o = (normed(of_x, cell.norm_x) + normed(of_h, cell.norm_h)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * normed(c, cell.norm_c).tanh()
    torch.testing.assert_close(encoder(inputs).h_n[0, 0], h)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_explains_and_trains(cell: str, script: Script) -> None:
    words = (f"imports=[examples.{cell}]", f"model.encoder.cell={cell}")
    quick = ("model.encoder.hidden_size=8", "trainer=cpu", "trainer.fast_dev_run=true")
    script("train.py", *words, *quick)
    assert "h_n" in script("explain.py", *words).stdout
