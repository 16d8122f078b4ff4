"""`seqmodels device`: the table, the sentences, the exit status."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO

import pytest
import torch

from seqmodels.kernels import check_device
from seqmodels.kernels.cases import Case, Sizes, all_cases, draw, read_mask
from seqmodels.kernels.precision import BFLOAT16, FLOAT32, FLOAT64
from seqmodels.kernels.report import lines, table
from seqmodels.screen import Screen
from tests.conftest import Script

SMALL = Sizes(8, 8, time=5, batches=(1, 4), many_steps=(2, 3), has_long_row=False)


def test_a_cpu_is_right_in_each_precision() -> None:
    report = check_device("cpu", SMALL, [FLOAT32, BFLOAT16, FLOAT64])
    assert report.findings == () and report.refused == ()
    assert lines(report) == ["your CPU is right"]
    assert {measure.precision for measure in report.measures} == {FLOAT32, BFLOAT16, FLOAT64}
    assert len(report.measures) > 300


def test_the_table_fits_on_80_columns() -> None:
    report = check_device("cpu", SMALL, [FLOAT32])
    screen = Screen(width=80, record=True, quiet=False, file=StringIO())
    screen.print(table(report))
    shown = screen.export_text()
    assert "LSTM, projected 2x2" in shown and "GRU 2x1 dropout" in shown and "…" not in shown


@pytest.mark.parametrize("case", [c for c in all_cases(SMALL) if c.batch == 4 and c.is_ragged])
def test_the_formulas_are_pytorchs_own(case: Case) -> None:
    problem = draw(case, torch.Generator().manual_seed(1))
    module = problem.module.eval()
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        problem.inputs, torch.tensor(problem.lengths), batch_first=True, enforce_sorted=False
    )
    state = tuple(problem.states) if case.cell == "lstm" else problem.states[0]
    output, final = module(packed, state)
    output, _ = torch.nn.utils.rnn.pad_packed_sequence(
        output, batch_first=True, total_length=case.time
    )
    finals = final if isinstance(final, tuple) else (final,)
    for result, expected in zip([output, *finals], problem.results(), strict=True):
        torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("case", [c for c in all_cases(SMALL) if c.dropout and c.batch > 1])
def test_an_output_tells_what_was_dropped(case: Case) -> None:
    problem = draw(case, torch.Generator().manual_seed(2))
    factors = 2.0 * (torch.rand(problem.cotangents[0].shape) < 0.5)
    is_valid = torch.arange(case.time) < torch.tensor(problem.lengths).unsqueeze(1)
    read = read_mask(problem, problem.results(factors.double())[0])
    assert torch.equal(read[is_valid], factors[is_valid].double())


def test_without_lightning_hydra_and_pandas() -> None:
    code = (
        "import sys; from seqmodels.kernels import check_device; import seqmodels.kernels.report\n"
        "print(sorted({'lightning', 'hydra', 'omegaconf', 'pandas', 'torchmetrics'}"
        " & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_device_that_is_not_there_is_one_line(refused: Script) -> None:
    where = "PyTorch finds no such device on this machine; use auto or cpu"
    assert refused("device.py", "--device", "cuda:99") == f"error: device=cuda:99: {where}"
    assert "cannot read --devise" in refused("device.py", "--devise", "cpu")
    for words in (("--device",), ("--device", "--help=1"), ("--device", "--devise")):
        assert "cannot read --device" in refused("device.py", *words)


@pytest.mark.long
def test_the_command_says_that_this_cpu_is_right(script: Script) -> None:
    done = script("device.py", "--device=cpu")
    assert done.stdout.splitlines()[-1] == "your CPU is right"
