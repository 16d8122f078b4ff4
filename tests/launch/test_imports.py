"""What a program imports before its first step: what it uses, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# PyTorch's compiler, matplotlib and a part of SciPy are loaded by Lightning itself
UNUSED = (
    *("sktime", "sklearn", "pandas", "pyarrow", "tokenizers", "datasets"),
    "scipy.signal._signaltools",
)
LAZY = """
import sys, seqmodels, scipy.signal
from importlib.util import find_spec
assert find_spec("scipy.signal")
assert "scipy.signal._signaltools" not in sys.modules
import torchmetrics.functional.audio, inspect
inspect.stack()
assert "scipy.signal._signaltools" not in sys.modules
from scipy.signal import find_peaks
assert scipy.signal.find_peaks is find_peaks and list(find_peaks([0, 1, 0])[0]) == [1]
assert scipy.signal.windows.hann and sys.modules["scipy.signal"].__file__
assert not hasattr(scipy.signal, "hamming")
"""
HAMMING = """
import seqmodels
try:
    from scipy.signal import hamming
except ImportError:
    pass
else:
    raise AssertionError(hamming)
"""


def run(code: str, folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-c", code, *words], check=True, cwd=folder)


def test_a_first_step_waits_for_no_library_that_it_does_not_use(tmp_path: Path) -> None:
    code = f"""
import sys
from seqmodels import compose, train
from lightning.pytorch.callbacks import Callback

class Stop(Callback):
    def on_train_batch_start(self, *_):
        assert not {{*{UNUSED}}} & {{*sys.modules}}
        sys.exit()

train(compose("model.head=last_hidden", "trainer=cpu"), callbacks=[Stop()])
raise AssertionError
"""
    run(code, tmp_path)


def test_an_audit_imports_neither_lightning_nor_a_compiler(tmp_path: Path) -> None:
    code = """
import sys
from seqmodels.launch.commands.audit import main
sys.argv[1:] = ["target=mine.py:Own"]
try:
    main()
finally:
    assert not {"lightning", "torchmetrics", "torch._dynamo"} & {*sys.modules}
"""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.rnn, self.dropout = nn.LSTM(3, 4, batch_first=True), nn.Dropout()\n"
        "    def forward(self, x, lengths):\n"
        "        x = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)\n"
        "        return self.dropout(self.rnn(x)[1][0][-1])\n"
    )
    run(code, tmp_path)


def test_a_module_that_is_loaded_late_is_the_real_one(tmp_path: Path) -> None:
    run(LAZY, tmp_path)
    run(HAMMING, tmp_path)
