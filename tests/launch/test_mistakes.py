"""Any mistake on any command line is one line: real keys with awkward values, and awkward keys."""

from __future__ import annotations

import importlib
import inspect
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seqmodels import compose
from seqmodels.arguments import arguments, known
from seqmodels.plain_values import flattened
from tests.conftest import ROOT
from tests.in_process import run_in_process

MODELS = """
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 2, batch_first=True)

    def forward(self, inputs, lengths):
        return self.rnn(inputs)[1][-1]
"""
VALUES = (
    "", "''", "null", "true", "0", "1", "-1", "0.5", "1e3", "1e400", "007", "1_000", "nan", "-inf",
    "[]", "[1]", "[a]", "[[1]]", "[null]", "{}", "{a:1}", "{_target_:os.system}", "{_target_:3}",
    "{_target_:torch.optim.SGD,lr:0.1}", str(2**63), "a", "x" * 300, "é", "🙂", "a b",
    "a=b", "..", "/dev/null", "'", "[", "{", "${", "${a}", "${seed", "${model.head}", "\\", "a\nb",
    "\x1b[31m", "???", "a,b", "range(3)", "auto", "max_pool", "torch.nn.Linear", "total_steps",
)  # fmt: skip
KEYS = (
    "", "a", "seed.x", "model", "data", "trainer", "callbacks", "model..head", ".seed", "séed",
    "MODEL.HEAD", "seed[0]", "model._recursive_", "model._partial_", "trainer._args_", "--cfg",
    "trainer.logger", "model.data", "model.optimizer.params", "hydra.job.name", "debug", "--info",
)  # fmt: skip
TINY = (
    "data=uea", "data.name=UnitTest", "model.encoder.hidden_size=4",
    "trainer=cpu", "baseline=false", "trainer.fast_dev_run=1",
)  # fmt: skip
FINDINGS = ("audit", "compare")  # exit with status 1 if they find something
PLAIN = {
    "audit": ("target=models:Model", "input.features=3"),
    "compare": ("nowhere",),
    "evaluate": ("run=nowhere",),
    "generate": ("run=nowhere",),
    "predict": ("run=nowhere", "input=-"),
}


def keys_of(name: str) -> list[str]:
    if name in ("train", "explain"):
        config = OmegaConf.to_container(compose(*TINY), resolve=False)
        return [key for key in flattened(config) if name == "train" or key.startswith("model.")]
    command = importlib.import_module(f"seqmodels.launch.commands.{name}")
    takes = arguments(inspect.unwrap(command.main))
    return [*known(takes)] if takes else []


def word(chance: random.Random, keys: Sequence[str]) -> str:
    key, value = chance.choice(keys), chance.choice(VALUES)
    if chance.random() < 0.75:
        return f"{key}={value}"
    odd = chance.choice(KEYS)
    return chance.choice(
        [f"{odd}={value}", f"+{key}={value}", f"++{key}.new={value}", f"~{key}", odd]
    )


def fault_of(name: str, words: Sequence[str], folder: Path) -> str | None:
    """What is not as it should be when this is run."""
    before = set(folder.rglob("*"))
    done = run_in_process(ROOT / "scripts" / f"{name}.py", words, folder, b"")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    expected = {0: 0, 2: 1} | ({1: 0} if name in FINDINGS else {})
    if "Traceback" in done.stderr + done.stdout or done.returncode not in expected:
        return f"status {done.returncode}: {' | '.join(done.stderr.splitlines()[-3:])}"
    if len(errors) != expected[done.returncode] and "usage: " not in done.stderr:  # of Hydra
        return f"status {done.returncode} with {len(errors)} errors: {done.stderr[-300:]}"
    new = sorted(path for path in folder.rglob("*") if not {"cache", "__pycache__"} & {*path.parts})
    if done.returncode == 2 and (left := {*new} - before):
        return f"{errors} left {left}"
    return None


@pytest.mark.parametrize("name", ["train", "explain", *PLAIN])
@pytest.mark.parametrize("count", [6, pytest.param(150, marks=pytest.mark.long)])
def test_a_mistake_is_one_line_and_leaves_nothing(name: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    chance, keys, faults = random.Random(count), keys_of(name), []
    for _ in range(count):
        base = TINY if name == "train" else PLAIN.get(name, ())
        words = [*base, *(word(chance, keys) for _ in range(chance.choice((1, 1, 2))))]
        if fault := fault_of(name, words, tmp_path):
            faults.append(f"{name} {words[len(base) :]}\n    {fault}")
    assert not faults, f"{len(faults)} of {count}:\n" + "\n".join(faults)
