"""`pytest --audit` and `assert_clean`, in Python with nothing but PyTorch and pytest."""

from __future__ import annotations

import inspect
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels.arguments import arguments
from seqmodels.audit import Audit, Finding
from seqmodels.audit.find_model import audit_named
from seqmodels.audit.random_inputs import random_batch
from seqmodels.launch.commands.audit import main
from seqmodels.pytest_plugin import AUDIT_OPTIONS, refuse, target_and_words
from tests.audit.bank import F

TORCH_ALONE = """
import sys

allowed = {"torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "jinja2", "markupsafe"}
allowed |= {"fsspec", "filelock", "typing_extensions", "setuptools", "seqmodels", "py"}
allowed |= {"pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"}
allowed |= {"my_models", "test_models"}


class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed | {*sys.stdlib_module_names}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Nothing())
import pytest

sys.exit(pytest.main(["-p", "seqmodels.pytest_plugin", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""
MODELS = f"""
import torch
from torch import nn

class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU({F}, 8, batch_first=True)
        self.classify = nn.Linear(8, 3)

    def forward(self, inputs, lengths):
        output, h_n = self.rnn(inputs)
        return self.classify(output[:, -1])

class Gathered(Last):
    def forward(self, inputs, lengths):
        output, h_n = self.rnn(inputs)
        return self.classify(output[torch.arange(len(lengths)), lengths - 1])

last = Last()
of_one_length = lambda inputs, lengths: last(inputs, lengths)
"""
TESTS = f"""
import pytest
import torch
from my_models import Gathered, Last

@pytest.mark.parametrize("model", [Gathered, Last])
def test_model(assert_clean, model):
    assert_clean(model(), torch.randn(4, 20, {F}), [20, 15, 9, 3])
"""


@pytest.mark.slow
def test_models_are_audited_with_torch_alone(tmp_path: Path) -> None:
    for name, text in (("my_models", MODELS), ("test_models", TESTS), ("alone", TORCH_ALONE)):
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "empty").mkdir()

    def run(*words: str, **variables: str) -> tuple[int, str]:
        # of the pytest that runs this: its summary repeats messages in CI, and where they fit
        others = ("GITHUB_ACTIONS", "PYTEST_ADDOPTS", "CI", "BUILD_NUMBER", "COLUMNS")
        own = {key: value for key, value in os.environ.items() if key not in others}
        own |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}
        command = [sys.executable, "alone.py", *words]
        done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
        return done.returncode, done.stdout

    of_one_length = "my_models:of_one_length padding=none input.time=9"
    status, said = run("--audit", "my_models.py:Gathered", "--audit", of_one_length, "empty")
    assert status == 0 and "2 passed" in said, said

    status, said = run("--audit", "my_models.py:Last", "test_models.py")
    assert status == 1 and "2 failed, 1 passed" in said, said
    line = 1 + MODELS.splitlines().index("        return self.classify(output[:, -1])")
    finding = "other content at padding"
    assert said.count(f"my_models.py:{line}: padding_leak: {finding} moves logits by up to ") == 2


def test_the_seed_is_that_of_the_inputs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_models.py").write_text(MODELS)
    drawn = []

    def audited(*given: Any, **_: Any) -> Audit:
        drawn.append(given)
        return Audit()

    monkeypatch.setattr("seqmodels.audit.find_model.audit", audited)
    audit_named(f"{tmp_path}/my_models.py:Last", {"time": 9}, seed=3)
    model, *inputs = drawn[0]
    expected = random_batch(model, time=9, seed=3)
    assert all(map(torch.equal, inputs, expected))


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    code = "import sys, seqmodels.pytest_plugin; print({'torch', 'yaml'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_it_takes_what_the_command_takes() -> None:
    takes = arguments(inspect.unwrap(main))
    assert {*AUDIT_OPTIONS} == {*takes.names()} - {"target", "input"}


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("models.py:build", "models.py:build", []),
        ("my models/a b.py:build", "my models/a b.py:build", []),
        (
            "lr=3 x/my models.py:Tagger  kind=per_step input.time=9 ",
            "lr=3 x/my models.py:Tagger",
            ["kind=per_step", "input.time=9"],
        ),
        ("C:\\my models\\a.py:build padding=none", "C:\\my models\\a.py:build", ["padding=none"]),
    ],
)
def test_a_path_may_hold_blanks(text: str, target: str, words: list[str]) -> None:
    assert target_and_words(text) == (target, words)


def test_a_finding_is_placed_where_the_linter_finds_the_same_mistake(tmp_path: Path) -> None:
    file = tmp_path / "models.py"
    file.write_text(
        "from torch import nn\n\nrnn = nn.LSTM(4, 8, batch_first=True, bidirectional=True)\n"
        "other_rnn = nn.LSTM(4, 8, batch_first=True, bidirectional=True)\n\n"
        "def model(inputs):\n"
        "    last = other_rnn(inputs)[0][:, -1]\n"
        "    output, (h_n, c_n) = rnn(inputs)\n"
        "    return last + h_n.reshape(len(inputs), -1)\n"
    )
    model = runpy.run_path(str(file))["model"]
    lines = {"truncated_direction": 7, "batch_leak": 9, "random_state": 7}
    for name, line in lines.items():
        finding = Finding(name, "so it is")
        with pytest.raises(AssertionError, match=rf"models\.py:{line}: {name}: so it is\n  cure: "):
            refuse(Audit([finding]), model)


def test_a_model_in_a_folder_with_a_blank_is_audited(tmp_path: Path) -> None:
    folder = tmp_path / "my models"
    folder.mkdir()
    (folder / "last one.py").write_text(MODELS)
    plugin = ["-p", "seqmodels.pytest_plugin", "-p", "no:cacheprovider"]
    words = ["--audit", "my models/last one.py:Last input.time=9", "my models"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, *words],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "padding_leak: other content at padding" in done.stdout
