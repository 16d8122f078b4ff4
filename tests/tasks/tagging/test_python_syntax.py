"""`examples/python_syntax.py`: each token of Python source with what it is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT, Script, result_of

EXAMPLES = ("--config-dir", str(ROOT / "examples" / "configs"))
MODULE = "import os\n\n@property\ndef f(a, b):\n    return os.path.join(a, b)\n\nx = f(1, 'é')\n"

pytestmark = pytest.mark.usefixtures("examples_importable")


def test_names_are_tagged_by_what_python_makes_of_them(tmp_path: Path) -> None:
    from examples.python_syntax import PythonSyntax

    (tmp_path / "module.py").write_text(
        "from ..a import (b as c,\n d)\nclass A(B, metaclass=M):\n  x: int = d(c).e\n"
        "def f(a, *, b=len): return [y for y in a if b]\n"
    )
    [(texts, tags)] = PythonSyntax(block=96).read_file(str(tmp_path / "module.py"))
    found = [f"{text}:{tag}" for text, tag in zip(texts, tags) if tag != "other"]
    assert " ".join(found) == (
        "a:attribute b:name c:assigned d:assigned "
        "A:assigned B:name metaclass:argument M:name "
        "x:assigned int:name d:call c:name e:attribute "
        "f:assigned a:parameter b:parameter len:name y:name y:assigned a:name b:name"
    )


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
    assert json.loads(done.stdout)["tokens"][:3] == ["import", "os", "@"]
