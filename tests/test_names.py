"""docs/names.md: what other libraries call the tensors of PyTorch, by equal numbers."""

from __future__ import annotations

import runpy
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.state import parts_of, state_of
from tests.conftest import ROOT

B, T, F, H = 2, 5, 3, 4
MADE = runpy.run_path(str(ROOT / "docs" / "vectors.py"))
KINDS, cases, vectors = (MADE[name] for name in ("KINDS", "cases", "vectors"))


@pytest.fixture
def lstm() -> nn.LSTM:
    torch.manual_seed(0)
    return nn.LSTM(F, H, bidirectional=True, batch_first=True)


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(B, T, F, generator=torch.Generator().manual_seed(0))


def same(found: Any, wanted: Tensor) -> None:
    np.testing.assert_allclose(np.asarray(found), wanted.detach().numpy(), atol=1e-6)


def weights(lstm: nn.LSTM, end: str) -> list[np.ndarray]:
    """`(F, 4*H)`, `(H, 4*H)` and the sum of the biases, with the gates i, f, g, o."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ih, hh, *biases = (getattr(lstm, f"{name}_l0{end}").detach().numpy() for name in names)
    return [ih.T, hh.T, sum(biases)]


def test_pytorch_and_this_project(lstm: nn.LSTM, rows: Tensor) -> None:
    output, (h_n, c_n) = lstm(rows)
    assert output.shape == (B, T, 2 * H) and h_n.shape == c_n.shape == (2, B, H)
    encoder = RecurrentEncoder(F, H, bidirectional=True)
    encoder.rnn.load_state_dict(lstm.state_dict())
    states = encoder(rows)
    assert states.c_n is not None
    same(states.output.detach(), output)
    same(states.h_n[0].detach(), h_n)
    same(states.c_n[0].detach(), c_n)


def test_onnx(lstm: nn.LSTM, rows: Tensor) -> None:
    def in_order(values: np.ndarray) -> np.ndarray:  # i, f, g, o -> i, o, f, g
        i, f, g, o = np.split(values, 4)
        return np.concatenate([i, o, f, g])

    both = [[in_order(each.T) for each in weights(lstm, end)] for end in ("", "_reverse")]
    w, r, b = (np.stack(parts) for parts in zip(*both, strict=True))
    names = ("W", "R", "B")
    given = (w, r, np.concatenate([b, np.zeros_like(b)], axis=1))
    node = onnx.helper.make_node(
        "LSTM", ["X", *names], ["Y", "Y_h", "Y_c"], hidden_size=H, direction="bidirectional"
    )
    number = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        [onnx.helper.make_tensor_value_info("X", number, (T, B, F))],
        [onnx.helper.make_tensor_value_info(name, number, None) for name in node.output],
        [onnx.numpy_helper.from_array(each, name) for name, each in zip(names, given, strict=True)],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    y, y_h, y_c = session.run(None, {"X": rows.transpose(0, 1).numpy()})
    output, (h_n, c_n) = lstm(rows)
    assert y.shape == (T, 2, B, H)
    same(y.transpose(2, 0, 1, 3).reshape(B, T, 2 * H), output)
    same(y_h, h_n)
    same(y_c, c_n)


def test_keras(lstm: nn.LSTM, rows: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    output, (h_n, c_n) = lstm(rows)
    values = [each for end in ("", "_reverse") for each in weights(lstm, end)]

    def run(**options: bool) -> Any:
        layer = keras.layers.Bidirectional(keras.layers.LSTM(H, **options))
        layer.build(rows.shape)
        layer.set_weights(values)
        return layer(rows.numpy())

    same(run(), torch.cat([h_n[0], h_n[1]], dim=1))
    same(run(return_sequences=True), output)
    _, *states = run(return_state=True)
    for found, wanted in zip(states, (h_n[0], c_n[0], h_n[1], c_n[1]), strict=True):
        same(found, wanted)


def test_flax(rows: Tensor) -> None:
    nnx = pytest.importorskip("flax.nnx")
    cell = nnx.LSTMCell(F, H, rngs=nnx.Rngs(0))
    (c, h), outputs = nnx.RNN(cell, return_carry=True)(rows.numpy())
    assert outputs.shape == (B, T, H)
    same(h, torch.tensor(np.asarray(outputs))[:, -1])
    assert not np.allclose(c, h)


def test_equinox(rows: Tensor) -> None:
    eqx, jax = (pytest.importorskip(name) for name in ("equinox", "jax"))
    cell, zeros = eqx.nn.LSTMCell(F, H, key=jax.random.PRNGKey(0)), np.zeros(H, np.float32)
    h, c = cell(rows[0, 0].numpy(), (zeros, zeros))
    gates = np.asarray(cell.weight_ih) @ rows[0, 0].numpy() + np.asarray(cell.bias)
    i, _, g, o = (torch.tensor(each) for each in np.split(gates, 4))
    same(c, i.sigmoid() * g.tanh())
    same(h, o.sigmoid() * torch.tensor(np.asarray(c)).tanh())


MAMBA = {"vocab_size": 9, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2}


def test_hugging_face() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.MambaModel(transformers.MambaConfig(**MAMBA)).eval()
    ids = torch.randint(0, 9, (B, T))
    with torch.no_grad():
        whole = model(ids, use_cache=True)
        first = model(ids[:, :3], use_cache=True)
        after = model(ids[:, 3:4], cache=first.cache, use_cache=True)
    assert whole.last_hidden_state.shape == (B, T, 16)
    same(after.last_hidden_state[:, 0], whole.last_hidden_state[:, 3])
    layer = whole.cache.layers[0]
    assert layer.conv_states[0].shape == (B, 32, 4) and layer.recurrent_states[0].shape == (
        B,
        32,
        4,
    )


def test_xlstm_of_hugging_face() -> None:
    transformers = pytest.importorskip("transformers")
    plain = ("chunkwise--native_autograd", "native_sequence__native", "native")
    names = ("chunkwise_kernel", "sequence_kernel", "step_kernel")
    kernels = dict(zip(names, plain, strict=True))
    sizes = {"hidden_size": 64, "num_heads": 2, "qk_dim_factor": 1.0, "v_dim_factor": 1.0}
    config = transformers.xLSTMConfig(vocab_size=9, num_hidden_layers=1, **sizes, **kernels)
    with torch.no_grad():
        made = transformers.xLSTMModel(config).eval()(torch.ones(B, T, dtype=int), use_cache=True)
    assert made.last_hidden_state.shape == (B, T, 64)
    c, n, m = made.cache.rnn_state[0]
    assert (c.shape, n.shape, m.shape) == ((B, 2, 32, 32), (B, 2, 32), (B, 2, 1))


def test_mambapy() -> None:
    mamba = pytest.importorskip("mambapy.mamba")
    torch.manual_seed(0)
    model = mamba.Mamba(mamba.MambaConfig(d_model=16, n_layers=2)).eval()
    rows = torch.randn(B, T, 16)
    caches = [(None, torch.zeros(B, 32, 3)) for _ in range(2)]
    with torch.no_grad():
        whole = model(rows)
        for step in range(T):
            last, caches = model.step(rows[:, step], caches)
    same(last, whole[:, -1])


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
