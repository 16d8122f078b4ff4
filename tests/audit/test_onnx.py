"""`audit_onnx`: graphs that others export or write by hand, right and wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqmodels.audit import audit, audit_onnx
from seqmodels.errors import UserError
from tests.conftest import Script

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the exporter

F, H, V, C = 5, 8, 23, 3
WEIGHTS = {  # of an LSTM, of one of two directions, of a GRU; layers; tokens
    "W": (1, 4 * H, F), "R": (1, 4 * H, H), "B": (1, 8 * H), "L": (H, C),
    "W2": (2, 4 * H, F), "R2": (2, 4 * H, H), "B2": (2, 8 * H), "M": (2 * H, C),
    "WG": (1, 3 * H, F), "RG": (1, 3 * H, H), "BG": (1, 6 * H), "E": (V, F),
}  # fmt: skip
SIZES = {  # axes, places in them, and shapes
    "axis0": [0], "axis1": [1], "one": [1], "two": [2], "minus1": [-1],
    "far": [2**31], "flat": [0, -1], "wide": [0, 0, -1], "rows": [-1, 2 * H], "each": [-1, H],
}  # fmt: skip


def by_hand(inputs: str, outputs: str, body: str) -> Any:
    """A graph in ONNX's own words, with random weights."""
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({outputs}) {{ {body} }}'
    model, draw = onnx.parser.parse_model(text), np.random.default_rng(0)
    arrays = {k: draw.normal(0, 0.4, shape).astype("float32") for k, shape in WEIGHTS.items()}
    arrays |= {name: np.array(sizes) for name, sizes in SIZES.items()}
    used = {*re.findall(r"\w+", body)}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used
    )
    onnx.checker.check_model(model, full_check=True)
    return model


X, XN, Y, YT = "float[B,T,5] x", "float[B,T,5] x, int32[B] n", "float[B,3] y", "float[B,T,3] y"
STATES, AFTER = "float[1,B,8] h0, float[1,B,8] c0", "float[1,B,8] hn, float[1,B,8] cn"
STEPS = "s = Transpose <perm=[1,0,2]> (x) "
LSTM = f"{STEPS} O, h, c = LSTM <hidden_size=8> (s, W, R, B, n) "
PLAIN = f"{STEPS} O, h, c = LSTM <hidden_size=8> (s, W, R, B) "
BOTH = f'{STEPS} O, h, c = LSTM <hidden_size=8, direction="bidirectional"> (s, W2, R2, B2, n) '
UNMASKED = BOTH.replace(", n)", ")")
FINAL = "hs = Transpose <perm=[1,0,2]> (h) f = Reshape (hs, flat) "  # (D, B, H) -> (B, D*H)
OUTPUT = "t = Transpose <perm=[2,0,1,3]> (O) o = Reshape (t, wide) "  # (T, D, B, H) -> (B, T, D*H)
CARRIED = f"{STEPS} O, hn, cn = LSTM <hidden_size=8> (s, W, R, B, , h0, c0) {OUTPUT} "
GRU = "GRU <hidden_size=8, linear_before_reset=1>"

RIGHT: dict[str, tuple[Any, ...]] = {
    "both ends": (XN, Y, BOTH + FINAL + "y = MatMul (f, M)"),
    "rows of one length": (X, Y, PLAIN + FINAL + "y = MatMul (f, L)"),
    "time first": (
        "float[T,B,5] x, int64[B] n", "float[T,B,3] y",
        'k = Cast <to=6> (n) O = LSTM <hidden_size=8, direction="bidirectional"> (x, W2, R2, B2, k)'
        " t = Transpose <perm=[0,2,1,3]> (O) o = Reshape (t, wide) y = MatMul (o, M)",
        {"kind": "per_step"},
    ),
    "tokens": (
        "int32[B,T] ids, int32[B] n", YT,
        f"x = Gather (E, ids) {BOTH} {OUTPUT} y = MatMul (o, M)", {"kind": "per_step"},
    ),
    "h and c carried": (
        f"{X}, {STATES}", f"{YT}, {AFTER}", CARRIED + "y = MatMul (o, L)",
        {"kind": "per_step", "causal": True},
    ),
    "a state of one part, and the logits after it": (
        f"float[1,B,8] prev_state, {X}", f"float[1,B,8] new_state, {Y}",
        f"{STEPS} , new_state = {GRU} (s, WG, RG, BG, , prev_state)"
        " f = Squeeze (new_state, axis0) y = MatMul (f, L)",
    ),
    "names that say nothing": (
        f"{X}, float[1,B,8] a, float[1,B,8] b", f"{YT}, float[1,B,8] p, float[1,B,8] q",
        f"{STEPS} O, p, q = LSTM <hidden_size=8> (s, W, R, B, , a, b) {OUTPUT} y = MatMul (o, L)",
        {"kind": "per_step", "states": {"a": "p", "b": "q"}},
    ),
    "one row of 16 steps": ("float[1,16,5] x", "float[1,3] y", PLAIN + FINAL + "y = MatMul (f, L)"),
    "chunks of 4 steps": (
        "float[B,4,5] x, float[1,B,8] h0, float[1,B,8] c0", f"float[B,4,3] y, {AFTER}",
        CARRIED + "y = MatMul (o, L)", {"kind": "per_step"},
    ),
}  # fmt: skip

WRONG: dict[str, tuple[Any, ...]] = {
    "backward over padding": (
        XN, Y, UNMASKED + FINAL + "y = MatMul (f, M)", ["padding_leak"],
    ),
    "h of both directions, not transposed": (
        XN, Y, BOTH + "f = Reshape (h, rows) y = MatMul (f, M)",
        ["batch_leak", "unread_step"],
    ),
    "a language model of two directions": (
        "int64[B,T] ids, int64[B] len", YT,
        f"x = Gather (E, ids) n = Cast <to=6> (len) {BOTH} {OUTPUT} y = MatMul (o, M)",
        ["future_leak"], {"kind": "per_step", "causal": True},
    ),
    "dropout left on": (
        XN, Y, BOTH + FINAL + "p = Constant <value_float=0.5> () v = Cast <to=9> (p)"
        " d = Dropout (f, p, v) y = MatMul (d, M)",
        ["random_state"],
    ),
    "states that nothing reads": (
        f"{X}, {STATES}", f"{YT}, {AFTER}",
        CARRIED.replace(", , h0, c0", "") + "y = MatMul (o, L)",
        ["lost_state"], {"kind": "per_step"},
    ),
    "a state that stays as it was": (
        f"{X}, {STATES}", f"{Y}, {AFTER}",
        CARRIED.replace("hn", "h").replace("cn", "c") + "hn = Identity (h0) cn = Identity (c0)"
        " f = Squeeze (h, axis0) y = MatMul (f, L)",
        ["lost_state"],
    ),
    "h and c swapped": (
        f"{X}, {STATES}", f"{Y}, {AFTER}",
        CARRIED.replace("h0, c0", "c0, h0") + "f = Squeeze (hn, axis0) y = MatMul (f, L)",
        ["lost_state"],
    ),
    "a state of the next row": (
        f"{X}, float[1,B,8] h0", f"{YT}, float[1,B,8] hn",
        f"{STEPS} O, h = {GRU} (s, WG, RG, BG, , h0) a = Slice (h, one, far, axis1)"
        f" b = Slice (h, axis0, one, axis1) hn = Concat <axis=1> (a, b) {OUTPUT} y = MatMul (o, L)",
        ["lost_state", "shared_state"], {"kind": "per_step"},
    ),
}  # fmt: skip


def saved(folder: Path, graph: Any) -> Path:
    onnx.save(graph, folder / "graph.onnx")
    return folder / "graph.onnx"


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_graph_is_not_accused(name: str, tmp_path: Path) -> None:
    *graph, options = (*RIGHT[name], {})[:4]
    for seed in range(3):
        assert audit_onnx(saved(tmp_path, by_hand(*graph)), **options, seed=seed).findings == []


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_graph_is_found(name: str, tmp_path: Path) -> None:
    *graph, found, options = (*WRONG[name], {})[:5]
    for seed in range(3):
        assert audit_onnx(saved(tmp_path, by_hand(*graph)), **options, seed=seed).names == found


@pytest.mark.parametrize("by_name", [False, True])
def test_a_graph_is_audited_in_any_runtime(by_name: bool, tmp_path: Path) -> None:
    """onnx's own reference ignores the lengths of a node, so there its states are those after the
    padding."""
    from onnx.reference import ReferenceEvaluator

    path = saved(tmp_path, by_hand(*RIGHT["both ends"]))
    reference = ReferenceEvaluator(str(path))

    def run(arrays: dict[str, Any]) -> Any:
        outputs = reference.run(None, arrays)
        return {"y": outputs[0]} if by_name else outputs

    assert audit_onnx(path).names == []
    assert audit_onnx(path, run=run).names == ["padding_leak"]


class Exported(nn.Module):
    def __init__(self, cell: type[nn.RNNBase], both: bool) -> None:
        super().__init__()
        self.rnn = cell(F, 40, 2, batch_first=True, bidirectional=both)
        self.out = nn.Linear(40 * (1 + both), C)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, _ = self.rnn(inputs)
        return self.out(output[torch.arange(inputs.shape[0]), lengths - 1])


@pytest.mark.parametrize(
    ("cell", "both", "found"),
    [(nn.GRU, False, []), (nn.LSTM, True, ["padding_leak"])],
)
def test_graphs_of_the_exporter(cell: Any, both: bool, found: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    # Few steps: the exporter writes a GRU step by step.
    inputs, lengths = torch.randn(4, 8, F), [8, 6, 4, 2]
    batch = torch.export.Dim("batch")  # tracing may take any time for a fixed one, or not
    torch.onnx.export(
        Exported(cell, both).eval(),
        (inputs, torch.tensor(lengths)),
        tmp_path / "graph.onnx",
        dynamo=True,
        dynamic_shapes=({0: batch}, {0: batch}),
        verbose=False,
    )
    result = audit_onnx(tmp_path / "graph.onnx", inputs, lengths)
    assert result.names == found
    told = {"other", "padding_leak,", "truncated_direction,"}
    assert {line.partition(" ")[0] for line in result.untested} <= told


def test_what_is_not_tested_is_told(tmp_path: Path) -> None:
    told = {
        "both ends": "truncated_direction, unread_direction, lost_gradient: a graph hides",
        "one row of 16 steps": "other shapes than [1, 16, 5]",
        "rows of one length": "padding_leak: the graph takes no lengths",
        "chunks of 4 steps": "lost_state: the graph takes 4 steps at a time",
        "tokens": "inputs like yours: these are random, {'batch': 4, 'time': 20, 'vocabulary': 23}",
    }
    for name, start in told.items():
        *graph, options = (*RIGHT[name], {})[:4]
        untested = audit_onnx(saved(tmp_path, by_hand(*graph)), **options).untested
        assert any(line.startswith(start) for line in untested), untested
    path = saved(tmp_path, by_hand(*RIGHT["names that say nothing"][:3]))
    assert "a: it gets zeros" in audit_onnx(path, kind="per_step").untested[0]


def test_what_cannot_be_audited_is_one_line(tmp_path: Path) -> None:
    masked = by_hand("float[B,T,5] x, int64[B,T] mask", "float[B,T,5] y", "y = Identity (x)")
    with pytest.raises(UserError, match="cannot be run: .*'mask'"):
        audit_onnx(saved(tmp_path, masked), kind="per_step")
    with pytest.raises(UserError, match="nowhere.onnx is not a graph that can be audited"):
        audit_onnx("nowhere.onnx")
    quantized = by_hand(X, "uint8[B,T,5] y", "y, a, b = DynamicQuantizeLinear (x)")
    with pytest.raises(UserError, match="audit the float graph"):
        audit_onnx(saved(tmp_path, quantized))
    huge = by_hand("float[1000000000,T,5] x", "float[1000000000,T,5] y", "y = Identity (x)")
    with pytest.raises(UserError, match="fixes the shape of x, .*1000000000.*too large to audit"):
        audit_onnx(saved(tmp_path, huge), kind="per_step")


def test_audit_takes_the_path_of_a_graph(tmp_path: Path) -> None:
    path = saved(tmp_path, by_hand(*WRONG["backward over padding"][:3]))
    rows, lengths = torch.randn(3, 9, F), [9, 4, 2]
    for given in (path, str(path)):
        assert audit(given, rows, lengths).names == audit_onnx(path, rows, lengths).names != []


def test_the_command(script: Script, tmp_path: Path) -> None:
    saved(tmp_path, by_hand(*WRONG["backward over padding"][:3]))
    done = script("audit.py", "target=graph.onnx", "input.time=9", status=1)
    assert "error: padding_leak: " in done.stdout and "'time': 9" in done.stdout
    saved(tmp_path, by_hand(*RIGHT["both ends"]))
    assert "graph.onnx: nothing found" in script("audit.py", "target=graph.onnx").stdout


def test_pytest_takes_a_graph(tmp_path: Path) -> None:
    saved(tmp_path, by_hand(*WRONG["backward over padding"][:3]))
    plugin = ["-p", "seqmodels.pytest_plugin", "-p", "no:cacheprovider", "--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", *plugin, "--audit", "graph.onnx input.time=9"]
    own = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
    assert done.returncode == 1 and "graph.onnx: padding_leak: " in done.stdout
