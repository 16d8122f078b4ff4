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

LEAKY = """
import os, sys, logging, signal, warnings
from seqmodels.heads import Head
class Leaky(Head, name='leaky'):
    reads = ('output',)
    def select(self, states):
        return states.output.sum(1)
os.environ['LEAKED'] = '1'
sys.path.append('leaked')
warnings.filterwarnings('ignore', 'anything')
logging.getLogger().addHandler(logging.NullHandler())
logging.getLogger('lightning.pytorch').setLevel(1)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
warnings.warn('mind the gap')
"""


def state() -> list[object]:
    lightning = logging.getLogger("lightning.pytorch")
    return [
        *(dict(os.environ), Path.cwd(), [*sys.argv], [*sys.path], "leaky_heads" in sys.modules),
        *(sys.stdin, sys.stdout, sys.stderr, [*warnings.filters], "leaky" in HEADS),
        *([*logging.root.handlers], logging.root.level, lightning.level),
        *(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)),
        GlobalHydra.instance().is_initialized(),
    ]


def test_a_script_leaves_no_trace(script: Script, tmp_path: Path) -> None:
    (tmp_path / "leaky_heads.py").write_text(LEAKY)
    before = state()
    done = script("explain.py", "imports=[leaky_heads]", "model.head=leaky")
    assert "output -> leaky" in done.stdout
    assert done.stderr == "UserWarning: mind the gap\n"  # shown, as in a process, and no error
    assert state() == before


@pytest.mark.parametrize(
    ("code", "status", "output", "error"),
    [
        ("print(input(), flush=True)", 0, "é\n", ""),
        ("import sys; sys.stderr.write('hm'); sys.exit(3)", 3, "", "hm"),
        ("1 / 0", 1, "", "ZeroDivisionError: division by zero\n"),
    ],
)
def test_streams_and_status_are_those_of_a_process(
    tmp_path: Path, code: str, status: int, output: str, error: str
) -> None:
    (tmp_path / "some.py").write_text(code)
    done = run_in_process(tmp_path / "some.py", [], tmp_path, stdin="é\n")
    assert (done.returncode, done.stdout) == (status, output)
    assert done.stderr.endswith(error) and bool(done.stderr) == bool(error)


def test_an_error_in_another_process_reaches_the_launcher(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readable = readable_errors()
    for error in (UserError("wrong"), ConnectionResetError("no route to the data")):
        with pytest.raises(SystemExit, match="2"), readable:
            raise error
        assert capsys.readouterr().err == f"error: {error}\n"
    with pytest.raises(ZeroDivisionError), readable:
        _ = 1 / 0
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(UserError, match="wrong"), readable:
        raise UserError("wrong")
