"""Scripts and their errors: what a call leaves behind, and what reaches the user."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from seqmodels.errors import UserError
from seqmodels.heads import HEADS
from seqmodels.launch.readable_errors import readable_errors
from tests.conftest import Script
from tests.in_process import run_in_process


def state() -> dict[str, object]:
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "arguments": list(sys.argv),
        "path": list(sys.path),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "handlers": list(logging.getLogger().handlers),
        "levels": (logging.getLogger().level, logging.getLogger("lightning.pytorch").level),
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "hydra": GlobalHydra.instance().is_initialized(),
        "heads": dict(HEADS),
        "mine": "leaky_heads" in sys.modules,
    }


def test_a_script_leaves_no_trace(script: Script, tmp_path: Path) -> None:
    (tmp_path / "leaky_heads.py").write_text(
        "import os, sys, logging, signal, warnings\n"
        "from seqmodels.heads import Head\n"
        "class Leaky(Head, name='leaky'):\n"
        "    reads = ('output',)\n"
        "    def select(self, states):\n"
        "        return states.output.sum(1)\n"
        "os.environ['LEAKED'] = '1'\n"
        "sys.path.append('leaked')\n"
        "warnings.filterwarnings('ignore', 'anything')\n"
        "logging.getLogger().addHandler(logging.NullHandler())\n"
        "logging.getLogger('lightning.pytorch').setLevel(1)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "warnings.warn('mind the gap')\n"
    )
    before = state()
    done = script("explain.py", "imports=[leaky_heads]", "model.head=leaky")
    assert "output -> leaky" in done.stdout
    assert done.stderr == "UserWarning: mind the gap\n"  # shown, as in a process, and no error
    assert state() == before


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("print(input(), flush=True)", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.stderr.write('hm'); sys.exit()", 0, "hm"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_streams_and_status_are_those_of_a_process(
    tmp_path: Path, code: str, status: int, error: str
) -> None:
    (tmp_path / "some.py").write_text(code)
    done = run_in_process(tmp_path / "some.py", [], tmp_path, stdin="é\n")
    assert done.returncode == status and done.stderr.endswith(error)
    assert bool(done.stderr) == bool(error)
    assert done.stdout == ("é\n" if "input" in code else "")


def test_an_error_in_another_process_reaches_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    readable = readable_errors()
    with pytest.raises(SystemExit, match="2"), readable:
        raise UserError("wrong")
    with pytest.raises(ZeroDivisionError), readable:
        _ = 1 / 0
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(UserError, match="wrong"), readable:
        raise UserError("wrong")


def test_a_lost_connection_is_not_a_closed_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"), readable_errors():
        raise ConnectionResetError("no route to the data")
    assert capsys.readouterr().err == "error: no route to the data\n"
