"""Commands: `seqmodels`, functions that are commands, their words, what they import, and the wheel
that installs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from seqmodels import __version__
from seqmodels.__main__ import run as run_command
from seqmodels.arguments import Name, NonNegative
from seqmodels.launch.command_line import Names, command
from seqmodels.words import read_word
from tests.conftest import ROOT, Script
from tests.in_process import run_in_process

COMMANDS = sorted(path.stem for path in (ROOT / "src/seqmodels/launch/commands").glob("[a-z]*.py"))


# ---------------------------------------------------------------- seqmodels


@pytest.fixture
def seqmodels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """`seqmodels("train", "model.head=max_pool")`: the installed command, in tmp_path."""
    for name in [name for name in sys.modules if name.startswith("seqmodels.launch.commands.")]:
        monkeypatch.delitem(sys.modules, name)  # as in a new process
    # runpy would keep what jaxtyping compiled as if Python had, for every process after this one
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    main = ROOT / "src" / "seqmodels" / "__main__.py"
    return lambda *words: run_in_process(main, words, tmp_path)


def test_help_lists_every_command_and_each_is_a_script_too(seqmodels: Script) -> None:
    done = seqmodels("--help")
    titles = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert titles == COMMANDS and "train     Train a model, or a sweep of many." in done.stdout
    assert seqmodels().stdout == done.stdout and done.returncode == 0
    assert seqmodels("--version").stdout == f"seqmodels {__version__}\n"
    for name in {*COMMANDS} - {"new"}:
        script = (ROOT / "scripts" / f"{name}.py").read_text()
        assert f'    run("{name}")\n' in script


def test_an_unknown_command_is_one_line(seqmodels: Script) -> None:
    done = seqmodels("tarin", "model.head=max_pool")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "unknown command tarin" in done.stderr and "train?" in done.stderr


def test_ctrl_c_while_a_command_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr("importlib.import_module", interrupted)
    with pytest.raises(SystemExit, match="130"):
        run_command("train")
    assert capsys.readouterr().err == "interrupted\n"


# ---------------------------------------------------------------- a function is a command

SEEN: list[Any] = []


@command
def main(
    run: Name,
    prompt: str = "",
    file: Name | None = None,
    rate: NonNegative = 0.1,
    exact: bool = False,
    imports: Names = (),
    kind: Literal["fast", "slow"] = "fast",
) -> None:
    SEEN.append(locals())


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["script.py", *words])
    SEEN.clear()
    main()
    return SEEN[0]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("kind=slow", "slow"),
        ("rate=1e-3", 0.001),
        ("exact=true", True),
        ("imports=[a,b.c]", ["a", "b.c"]),
        ("imports=a", ["a"]),
        *((f"prompt={text}", text) for text in ("[x]", " a=b ", "", "null", "${")),
        *((f"file={text}", text) for text in ("007", "1e3", "[a")),
        ("file=null", None),
    ],
)
def test_a_value_is_read_as_its_argument_says(
    word: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, usual = call(monkeypatch, "run=x", word), call(monkeypatch, "run=a", "run=x")
    found = seen.pop(word.partition("=")[0])
    assert found == value and type(found) is type(value)
    assert seen.items() <= usual.items()  # of a key that stands there twice, the last word


# ---------------------------------------------------------------- the wheel


def test_the_wheel_brings_configurations_the_template_and_types(wheel: Path) -> None:
    def listed(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    ours = {f: c for f, c in listed(ROOT / "configs").items() if not f.startswith("local")}
    assert listed(wheel / "seqmodels" / "configs") == ours
    template = ROOT / "src" / "seqmodels" / "template"
    assert listed(wheel / "seqmodels" / "template") == listed(template)
    assert (wheel / "seqmodels" / "py.typed").is_file()
    [metadata] = wheel.glob("*.dist-info")
    assert "seqmodels = seqmodels.__main__:main" in (metadata / "entry_points.txt").read_text()


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    own = "# @package _global_\ndefaults:\n  - override /data: japanese_vowels\n"
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(f"{own}model: {{head: max_pool}}\n")
    words = ["--config-dir", "mine", "experiment=mine", "debug=fast"]
    words += ["trainer=ddp_sim", "baseline=false"]
    done = subprocess.run(
        [sys.executable, "-m", "seqmodels", "train", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "max_pool reads output" in done.stdout
    [environment] = (tmp_path / "runs").glob("*/environment.json")
    assert '"2 x cpu"' in environment.read_text()


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("model.head=max_pool", ("", "model.head", "max_pool")),
        ("+logger=wandb", ("+", "logger", "wandb")),
        ("++a.b=c=d+~", ("++", "a.b", "c=d+~")),
        ("~callbacks.progress", ("~", "callbacks.progress", None)),
        ("tags=", ("", "tags", "")),
        ("=1", ("", "", "1")),
        ("+", ("+", "", None)),
        ("my.csv", ("", "my.csv", None)),
        ("", ("", "", None)),
    ],
)
def test_a_word_has_a_sign_a_key_and_a_value(text: str, parts: tuple[str, str, str | None]) -> None:
    assert read_word(text) == parts


# ---------------------------------------------------------------- imports


# PyTorch's compiler, matplotlib and a part of SciPy are loaded by Lightning itself
UNUSED = (
    *("sktime", "sklearn", "pandas", "pyarrow", "tokenizers", "datasets"),
    "scipy.signal._signaltools",
)
LAZY = """
import os, sys, seqmodels
if not os.fork():  # the other one finds it as unused as this one
    try:
        from scipy.signal import hamming
    except ImportError:
        os._exit(0)
    os._exit(1)
assert os.wait()[1] == 0
import scipy.signal
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


def run_python(code: str, folder: Path, *words: str) -> None:
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
    run_python(code, tmp_path)


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
    run_python(code, tmp_path)


def test_a_module_that_is_loaded_late_is_the_real_one(tmp_path: Path) -> None:
    run_python(LAZY, tmp_path)
