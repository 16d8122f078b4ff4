"""A script that a test calls inside its own process leaves nothing behind."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import torch

from seqmodels.heads import HEADS
from tests.conftest import Script

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
        *(sys.stdout, [*warnings.filters], "leaky" in HEADS, signal.getsignal(signal.SIGTERM)),
        *(
            [*logging.root.handlers],
            logging.root.level,
            lightning.level,
            torch.get_rng_state().sum(),
        ),
    ]


def test_a_script_leaves_no_trace(script: Script, tmp_path: Path) -> None:
    (tmp_path / "leaky_heads.py").write_text(LEAKY)
    before = state()
    done = script("explain.py", "imports=[leaky_heads]", "model.head=leaky")
    assert "output -> leaky" in done.stdout
    assert done.stderr == "UserWarning: mind the gap\n"  # shown, as in a process, and no error
    assert state() == before
