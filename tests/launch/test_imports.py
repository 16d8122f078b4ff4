"""What a program imports before its first step: what it uses, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# PyTorch's compiler, matplotlib and SciPy are loaded by Lightning itself
UNUSED = ("sktime", "sklearn", "pandas", "pyarrow", "tokenizers", "datasets")


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
