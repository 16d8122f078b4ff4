"""`examples/where_right`: which libraries give the numbers of docs/vectors.py, and where they begin
to be wrong."""

from __future__ import annotations

import ast
import importlib
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.conftest import ROOT
from tests.pages import read

FOLDER = ROOT / "examples" / "where_right"
CLIENTS = sorted((FOLDER / "clients").glob("*.py"))
# What a client of one cell, layer and direction needs, to plant a fault in it.
PLANTED = """
import numpy as np
from measure import last_steps, results

LIBRARY = "Planted"
ROWS = ["a fault: torch"]


def sigmoid(numbers):
    return 1 / (1 + np.exp(-numbers))


def run(case):
    is_simple = case.num_layers == case.num_directions == 1
    case.refuse({"other networks": case.cell != "GRU" or not is_simple})
    [[weights]] = case.layers
    h = case.state[0][0] if case.state else None
    outputs = []
    for x in case["inputs"].swapaxes(0, 1):
        r, z, n = np.split(x @ weights.w_ih.T + weights.b_ih, 3, axis=1)
        if h is None:
            b_hr, b_hz, _ = np.split(weights.b_hh, 3)
            r, z = sigmoid(r + b_hr), sigmoid(z + b_hz)
            h = (1 - z) * np.tanh(n)  # without r * b_hn
        else:
            h_r, h_z, h_n = np.split(h @ weights.w_hh.T + weights.b_hh, 3, axis=1)
            r, z = sigmoid(r + h_r), sigmoid(z + h_z)
            h = (1 - z) * np.tanh(n + r * h_n) + z * h
        outputs.append(h)
    output = np.stack(outputs, axis=1)
    return results(output, last_steps(output, case.lengths)[None])
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`run.py`, whose clients read this checkout's package."""
    monkeypatch.syspath_prepend(FOLDER)
    module = importlib.import_module("run")
    variables = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    monkeypatch.setattr(module, "clean_variables", lambda: variables)
    return module


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("measure")


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    return runpy.run_path(str(ROOT / "docs" / "vectors.py"))["vectors"]()


def written(vectors: Mapping[str, np.ndarray], file: Path, *cases: str) -> Path:
    """A file of these cases, or of all."""
    chosen = {}
    for key, array in vectors.items():
        if not cases or key.partition("/")[0] in cases:
            chosen[key] = array
    np.savez(file, **chosen)
    return file


def case_of(measure: ModuleType, vectors: Mapping[str, np.ndarray], name: str) -> tuple[Any, Any]:
    """A case, and what a right client gives for it."""
    [found] = [pair for pair in measure.cases(vectors, "", "cpu") if pair[0].name == name]
    return found


def row_of(command: ModuleType, client: str, variant: str) -> Any:
    rows = command.rows_of(FOLDER / "clients" / f"{client}.py")
    [row] = [row for row in rows if row.variant == variant]
    return row


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "variant", "num_compared"),
    [
        ("pytorch", "packed", 60),
        ("onnx_runtime", "free shapes", 45),
        ("onnx_runtime", "fixed shapes", 45),
        ("onnx_reference", "free shapes", 45),
        # This way takes one of the other two for each batch.
        pytest.param("seqmodels_encoder", "auto", 60, marks=pytest.mark.long),
        ("seqmodels_encoder", "packed", 60),
        ("seqmodels_encoder", "padded", 60),
    ],
)
def test_a_client_gives_the_vectors(
    client: str,
    variant: str,
    num_compared: int,
    command: ModuleType,
    vectors: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    file = written(vectors, tmp_path / "vectors.npz")
    row = row_of(command, client, variant)
    result = command.collected(row, Path(sys.executable), file, "cpu", tmp_path)
    assert not result.failure and len(result.cases) == 60
    assert not [case for case in result.cases if "error" in case]
    compared = [case for case in result.cases if "difference" in case]
    assert len(compared) == num_compared
    if client == "onnx_reference":  # which may ignore lengths
        compared = [case for case in compared if case["case"].endswith("_full")]
    assert [case for case in compared if "first_wrong" in case] == []
    with_gradients = sum(case["gradients"] for case in compared)
    # Not of states that are reset, whose rows are read in pieces.
    assert with_gradients == (0 if client.startswith("onnx") else 52)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cases",
    [
        ["lstm_2x2_ragged"],
        pytest.param(["gru_2x1_carried", "lstm_1x1_resets"], marks=pytest.mark.long),
    ],
)
def test_our_graph_gives_the_vectors(
    command: ModuleType, vectors: dict[str, np.ndarray], tmp_path: Path, cases: list[str]
) -> None:
    """In two runtimes: OpenVINO is not in this environment."""
    file = written(vectors, tmp_path / "vectors.npz", *cases)
    client = tmp_path / "client.py"
    text = read(FOLDER / "clients" / "seqmodels_graph.py")
    client.write_text(text.replace("in RUNTIMES]", "in RUNTIMES[:2]]"))
    [row] = command.rows_of(client)
    result = command.collected(row, Path(sys.executable), file, "cpu", tmp_path)
    assert not result.failure
    assert sorted(case["case"] for case in result.cases) == sorted(cases)
    assert all(case["difference"] < 1e-5 for case in result.cases)


def test_a_bias_that_is_dropped_at_the_first_step_is_named(
    command: ModuleType, vectors: dict[str, np.ndarray], tmp_path: Path
) -> None:
    client = tmp_path / "planted.py"
    client.write_text(PLANTED)
    file = written(vectors, tmp_path / "vectors.npz")
    [row] = command.rows_of(client)
    result = command.collected(row, Path(sys.executable), file, "cpu", tmp_path)
    wrong = {case["case"]: case["first_wrong"] for case in result.cases if "first_wrong" in case}
    assert wrong == dict.fromkeys(
        ["gru_1x1_full", "gru_1x1_ragged", "gru_1x1_101rows"], "step 0, row 0"
    )
    cells = command.table_line(result).split(" | ")
    assert cells[4:6] == ["5 of 60: no other networks", "3"]
    assert cells[7].startswith("`gru_1x1_full`: step 0, row 0")


def test_a_mask_that_is_lost_between_two_layers_is_named(
    measure: ModuleType, vectors: dict[str, np.ndarray]
) -> None:
    def loses_its_mask(case: Any) -> dict[str, Any]:
        output, h_n, c_n = torch.from_numpy(case["inputs"]), [], []
        for layer in range(case.num_layers):
            lstm = torch.nn.LSTM(output.shape[2], case.hidden_size, batch_first=True)
            state = {
                name: torch.from_numpy(case[name.replace("l0", f"l{layer}")])
                for name in lstm.state_dict()
            }
            lstm.load_state_dict(state)
            if layer:
                output, (h, c) = lstm(output)
            else:
                lengths = torch.from_numpy(case.lengths)
                rows = pack_padded_sequence(output, lengths, batch_first=True, enforce_sorted=False)
                output, (h, c) = lstm(rows)
                output, _ = pad_packed_sequence(output, batch_first=True)
            h_n.append(h)
            c_n.append(c)
        arrays = measure.results(output, torch.cat(h_n), torch.cat(c_n))
        return {name: array.detach().numpy() for name, array in arrays.items()}

    right, wrong = (
        measure.measured(loses_its_mask, *case_of(measure, vectors, name))
        for name in ("lstm_1x1_ragged", "lstm_2x1_ragged")
    )
    assert right["difference"] < 1e-6 and "first_wrong" not in right
    assert wrong["first_wrong"] == "h_n of row 0, layer 1"


def test_what_is_wrong_is_named_by_the_step_as_the_network_reads(
    measure: ModuleType, vectors: dict[str, np.ndarray]
) -> None:
    case, expected = case_of(measure, vectors, "lstm_2x2_ragged")  # rows of 3, 5 and 1 steps

    def changed(name: str, place: Any, number: float) -> dict[str, Any]:
        arrays = {name: expected[name].copy() for name in ("output", "h_n", "c_n")}
        arrays[name][place] += number
        return measure.measured(lambda case: arrays, case, expected)

    assert changed("output", (1, 3, 0), 0.1)["first_wrong"] == "step 3, row 1"
    assert changed("output", (1, 3, 3), 0.1)["first_wrong"] == "step 1 backward, row 1"
    assert changed("output", (0, 0, 3), 0.1)["first_wrong"] == "step 2 backward, row 0"
    assert changed("c_n", (2, 1, 0), 0.1)["first_wrong"] == "c_n of row 1, layer 1"
    facts = changed("output", (1, 3, 0), np.nan)
    assert facts["first_wrong"] == "step 3, row 1" and np.isnan(facts["difference"])
    assert "first_wrong" not in changed("output", (1, 3, 0), 9e-6)  # rounding
    assert changed("output", (2, 1, 0), 9)["difference"] == 0  # padding


def test_a_result_that_lacks_something_is_an_error_and_what_cannot_be_is_not(
    measure: ModuleType, vectors: dict[str, np.ndarray]
) -> None:
    case, expected = case_of(measure, vectors, "lstm_proj_1x1_full")
    arrays = {name: expected[name] for name in ("output", "h_n", "c_n")}

    def facts_of(run: Any) -> dict[str, Any]:
        return measure.measured(run, case, expected)

    without = {name: array for name, array in arrays.items() if name != "c_n"}
    assert facts_of(lambda case: without)["error"] == "ValueError: no c_n"
    turned = arrays | {"output": arrays["output"].swapaxes(0, 1)[:, :, :1]}
    assert (
        facts_of(lambda case: turned)["error"] == "ValueError: output is (5, 3, 1), not (3, 5, 2)"
    )
    refused = facts_of(lambda case: case.refuse({"projections": case.proj_size}))
    assert refused == {"case": case.name, "impossible": "projections"}
    # Of several results, the worst one counts.
    worse = arrays | {"h_n": arrays["h_n"] + 0.5}
    assert facts_of(lambda case: [arrays, worse, arrays])["difference"] == 0.5
    gradients = {"grad/inputs": expected["grad/inputs"] * 1.5}
    assert facts_of(lambda case: arrays | gradients)["first_wrong"] == "grad/inputs"


def test_a_row_that_is_reset_is_read_in_pieces(
    measure: ModuleType, vectors: dict[str, np.ndarray]
) -> None:
    case, expected = case_of(measure, vectors, "gru_1x1_resets")
    sizes = []

    def run(case: Any) -> None:
        sizes.append((case["inputs"].shape, case.lengths.tolist(), "resets" in case))
        case.refuse({"anything": True})

    measure.measured(run, case, expected)
    assert sizes == [((6, 5, 2), [2, 1, 1, 3, 1, 1], False)]


def test_a_client_that_dies_and_one_that_cannot_be_imported_are_said(
    command: ModuleType, vectors: dict[str, np.ndarray], tmp_path: Path
) -> None:
    names = ("lstm_1x1_full", "lstm_1x1_ragged")
    file = written(vectors, tmp_path / "vectors.npz", *names)
    dies, missing = tmp_path / "dies.py", tmp_path / "missing.py"
    constants = 'LIBRARY = "Other"\nROWS = ["numpy"]\n'
    dies.write_text(
        f"import os\n{constants}\ndef run(case):\n"
        "    case.refuse({'full rows': case.name.endswith('full')})\n    os.abort()\n"
    )
    missing.write_text(f"import not_there\n{constants}")
    results = []
    for client in (dies, missing):
        [row] = command.rows_of(client)
        results.append(command.collected(row, Path(sys.executable), file, "cpu", tmp_path))
    died, unimportable = results
    assert died.failure.startswith("crashed (-6): ")
    assert died.failure.endswith(", in lstm_1x1_ragged")
    assert died.cases == [{"case": "lstm_1x1_full", "impossible": "full rows"}]
    assert unimportable.failure == ("crashed (1): ModuleNotFoundError: No module named 'not_there'")
    assert np.__version__ in command.table_line(died)


@pytest.mark.slow
def test_what_cannot_be_installed_is_a_row_and_the_rest_go_on(
    command: ModuleType,
    vectors: dict[str, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(command, "clean_variables", lambda: dict(os.environ))
    file = written(vectors, tmp_path / "vectors.npz", "gru_1x1_full")
    client = tmp_path / "planted.py"
    client.write_text(PLANTED.replace("a fault: torch", "a fault: there-is-no-such-package==1"))
    [absent] = command.rows_of(client)
    make = command.environment

    def environment(requirements: tuple[str, ...], folder: Path) -> Path:
        return Path(sys.executable) if requirements == ("torch",) else make(requirements, folder)

    monkeypatch.setattr(command, "environment", environment)
    client.write_text(PLANTED)
    rows = [absent, *command.rows_of(client)]
    failed, measured = command.measured(rows, file, "cpu", tmp_path)
    assert failed.failure == (
        "not installed: ERROR: No matching distribution found for there-is-no-such-package==1"
    )
    assert measured.cases[0]["first_wrong"] == "step 0, row 0"


def test_the_table_says_what_was_tried_and_what_was_not(command: ModuleType) -> None:
    row = command.Row(Path("x.py"), "Some", "JAX", ("some[cpu]==1.*", "jax"))
    right = {"case": "a", "difference": 2.4e-7, "array": "h_n", "gradients": True}
    wrong = {"case": "b", "difference": 0.5, "array": "h_n", "first_wrong": "h_n of row 0, layer 0"}
    nan = {
        "case": "c",
        "difference": float("nan"),
        "array": "output",
        "first_wrong": "step 1, row 2",
    }
    error = {"case": "d", "error": "ValueError: a | b"}
    refused = [{"case": name, "impossible": reason} for name, reason in zip("efg", "xyx")]
    results = [
        command.Result(row, ["1.2", "0.9"], "cpu", [right, *refused]),
        command.Result(row, ["1.2", "0.9"], "cpu", [right, wrong, error]),
        command.Result(row, ["1.2", "0.9"], "cpu", [wrong, nan], "crashed (1): oh, in e"),
        command.Result(row, failure="not installed: ERROR: no"),
        command.Result(row, ["1.2", "0.9"], "cpu", [error, error | {"case": "e"}]),
    ]
    machine, blank, header, rule, *lines = command.table(results).splitlines()
    assert "Python" in machine and not blank
    assert header.count("|") == rule.count("|") == 9
    assert lines == [
        "| Some | 1.2, jax 0.9 | JAX | cpu | 1 of 4, 1 with gradients: no x, no y | 0 | 2.4e-07 "
        "|  |",
        "| Some | 1.2, jax 0.9 | JAX | cpu | 2 of 3, 1 with gradients | 1 | 0.5 "
        "| `b`: h_n of row 0, layer 0; error in `d`: ValueError: a / b |",
        "| Some | 1.2, jax 0.9 | JAX | cpu | 2 of 2 | 2 | nan "
        "| `b`: h_n of row 0, layer 0; crashed (1): oh, in e |",
        "| Some |  | JAX |  | none |  |  | not installed: ERROR: no |",
        "| Some | 1.2, jax 0.9 | JAX | cpu | 0 of 2 |  |  "
        "| 2 errors, the first in `d`: ValueError: a / b |",
    ]


def test_a_library_is_named_by_its_client_and_its_version(
    command: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {row.client for row in command.chosen_rows([])} == {*CLIENTS}
    [old] = command.chosen_rows(["mlx==0.29.0"])
    assert old.requirements == ("mlx[cpu]==0.29.0",)
    libraries = [row.library for row in command.chosen_rows(["onnx", "flax_nnx"])]
    assert [*dict.fromkeys(libraries)] == ["onnx.reference", "onnxruntime", "Flax"]
    with pytest.raises(SystemExit) as ended:
        command.chosen_rows(["caffe"])
    [line] = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and line.startswith("error: no client is called 'caffe': take")


def test_vectors_that_are_not_there_are_one_line(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "pytorch", "--vectors", "missing.npz"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: there is no file missing.npz\n"


def lines_of_code(client: Path) -> int:
    """Without blank lines, comments and the docstring."""
    text = read(client)
    docstring = ast.parse(text).body[0]
    lines = text.splitlines()[docstring.end_lineno :]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.stem)
def test_a_client_has_thirty_lines_at_most(client: Path) -> None:
    assert 5 <= lines_of_code(client) <= 30


def tables(text: str) -> Iterator[str]:
    yield from (line for line in text.splitlines() if line.startswith("|"))


def test_the_page_has_the_table_that_was_measured() -> None:
    measured = [*tables(read(FOLDER / "results.md"))]
    assert [*tables(read(ROOT / "docs" / "where_is_an_lstm_right.md"))] == measured
    libraries = {line.split(" | ")[0].removeprefix("| ") for line in measured[2:]}
    constants = (
        ast.literal_eval(a.value)
        for c in CLIENTS
        for a in ast.parse(read(c)).body
        if isinstance(a, ast.Assign) and a.targets[0].id == "LIBRARY"
    )
    assert libraries == {*constants}


@pytest.mark.long
def test_the_command_installs_and_measures_a_library(
    vectors: dict[str, np.ndarray], tmp_path: Path
) -> None:
    file = written(vectors, tmp_path / "vectors.npz")
    words = [FOLDER / "run.py", "onnx_runtime", "--vectors", file, "--write", "table.md"]
    process = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (tmp_path / "table.md").read_text() == process.stdout
    assert (tmp_path / ".cache" / "where_right" / "onnx_onnxruntime").is_dir()
    free, fixed = process.stdout.splitlines()[-2:]
    assert "45 of 60: no projections | 0 |" in free and "fixed shapes" in fixed
