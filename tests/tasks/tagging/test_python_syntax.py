"""`examples/python_syntax.py`: each token of Python source with what it is there."""

# ruff: noqa: E501 (a source and its tags on one line)
from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest

from tests.conftest import ROOT, Script, result_of

EXAMPLES = ("--config-dir", str(ROOT / "examples" / "configs"))
MODULE = "import os\n\n@property\ndef f(a, b):\n    return os.path.join(a, b)\n\nx = f(1, 'é')\n"

pytestmark = pytest.mark.usefixtures("examples_importable")


def tagged(source: str, folder: Path, block: int = 96) -> list[list[tuple[str, str]]]:
    from examples.python_syntax import PythonSyntax

    path = folder / "module.py"
    path.write_text(source)
    return [[*zip(*pair)] for pair in PythonSyntax(block=block).read_file(str(path))]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os.path as p, re\nfrom ..a import (b as c,\n d)\nc(d)", "os:name path:attribute p:assigned re:assigned a:attribute b:name c:assigned d:assigned c:call d:name"),
        ("def f(a, /, b=len, *c, d, **e): return a, x", "f:assigned a:parameter b:parameter len:name c:parameter d:parameter e:parameter a:name x:name"),
        ("class A(B, metaclass=M):\n  x = 1\n  y: int = x", "A:assigned B:name metaclass:argument M:name x:assigned y:assigned int:name x:name"),
        ("x = [y for y in z if y]; x += z; x.y = z", "x:assigned y:name y:assigned z:name y:name x:assigned z:name x:name y:attribute z:name"),
        ("with a as b, c() as d: pass\ntry: pass\nexcept E as e: e", "a:name b:assigned c:call d:assigned E:name e:assigned e:name"),
        ("lambda x: (y := x) + 'ü' + y", "x:parameter y:assigned x:name y:name"),
    ],
)  # fmt: skip
def test_names_are_tagged_by_what_python_makes_of_them(
    source: str, found: str, tmp_path: Path
) -> None:
    [pairs] = tagged(source, tmp_path)
    assert " ".join(f"{text}:{tag}" for text, tag in pairs if tag != "other") == found


def test_it_trains_and_predicts(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"m{number}.py" for number in range(20)]
    for path in files:
        path.write_text(MODULE)
    monkeypatch.setattr("seqmodels.data.sources.library_files", lambda: files)
    quick = ("trainer=cpu", "trainer.max_steps=40", "model.encoder.hidden_size=16", "folder=run")
    script("train.py", *EXAMPLES, "experiment=tagging", "data=python_syntax", *quick)
    assert result_of(tmp_path / "run")["metrics"]["test/accuracy"] > 0.6
    done = script("predict.py", "run=run", "input=m0.py", "imports=examples.python_syntax")
    [row] = map(json.loads, done.stdout.splitlines())
    assert row["tokens"] == [text for text, _ in chain(*tagged(MODULE, tmp_path))]
