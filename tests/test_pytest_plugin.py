"""`pytest --audit` and `assert_clean`, in Python with nothing but PyTorch and pytest."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmodels.arguments import arguments, known
from seqmodels.launch.commands.audit import main
from seqmodels.pytest_plugin import OPTIONS
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

def build():
    return Gathered()
"""
TESTS = f"""
import torch
from my_models import Gathered, Last

def test_gathered(assert_clean):
    assert_clean(Gathered(), torch.randn(4, 20, {F}), [20, 15, 9, 3])

def test_last(assert_clean):
    assert_clean(Last(), torch.randn(4, 20, {F}), [20, 15, 9, 3])
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    for name, text in (("my_models", MODELS), ("test_models", TESTS), ("alone", TORCH_ALONE)):
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "empty").mkdir()

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        # of the pytest that runs this: where CI is set, pytest's summary repeats each message whole
        others = ("GITHUB_ACTIONS", "PYTEST_ADDOPTS", "CI", "BUILD_NUMBER")
        own = {key: value for key, value in os.environ.items() if key not in others}
        own |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}
        command = [sys.executable, "alone.py", *words]
        return subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_models_are_audited_with_torch_alone(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    of_one_length = "my_models:of_one_length padding=none input.time=9"
    clean = run("--audit", "my_models.py:build", "--audit", of_one_length, "empty")
    assert clean.returncode == 0 and "2 passed" in clean.stdout, clean.stdout + clean.stderr

    found = run("--audit", "my_models.py:Last", "test_models.py")
    assert found.returncode == 1 and "2 failed, 1 passed" in found.stdout, found.stdout
    line = 1 + MODELS.splitlines().index("        return self.classify(output[:, -1])")
    told = f"my_models.py:{line}: padding_leak: other content at padding moves logits by up to "
    assert found.stdout.count(told) == 2
    assert found.stdout.count("cure: read only valid steps: gather output at length - 1") == 2

    wrong = run("--audit", "my_models:Last knd=per_step", "--audit", "my_models:Lost", "empty")
    assert wrong.returncode == 1
    assert "--audit knd: choose one of causal, input.batch" in wrong.stdout
    assert "no such name in my_models: choose one of" in wrong.stdout
    assert "Traceback" not in wrong.stdout


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    code = "import sys, seqmodels.pytest_plugin; print({'torch', 'yaml'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_it_takes_what_the_command_takes() -> None:
    takes = arguments(inspect.unwrap(main))
    assert {*OPTIONS} == {*known(takes)} - {"target", "input"}
