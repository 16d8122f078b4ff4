"""Any mistake on any command line is one line."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_script
from tests.in_process import run_in_process
from tests.launch.command_lines import Case, CommandLines
from tests.shipped import lacks

MODELS = """
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 2, batch_first=True)

    def forward(self, inputs, lengths):
        return self.rnn(inputs)[1][-1]

def build():
    return Model()
"""

FINDINGS = ("audit", "explain", "compare")  # exit with status 1 if they find something


class Hangs(BaseException):
    """So that no script takes it for an error of its own."""


@pytest.fixture
def lines(tmp_path: Path, reviews: Path, request: pytest.FixtureRequest) -> CommandLines:
    (tmp_path / "models.py").write_text(MODELS)
    quick = ("trainer.max_epochs=1", "trainer=cpu", "baseline=false", "callbacks.dataflow=null")
    quick += ("model.encoder.hidden_size=4", f"data.train={reviews}")
    stream = ("data.batch_size=2", "data.window=5", "data.evaluation_streams=1")
    runs = []
    for name, words in (
        ("classifier", ("data=text", *quick)),
        ("language_model", ("model=language_model", "data=text_lm", *stream, *quick)),
    ):
        if not lacks(" ".join(words)):
            run_script(tmp_path, "train.py", f"folder={name}", *words)
            runs.append(tmp_path / name)
    return CommandLines(request.param, runs, reviews, "models")


@pytest.mark.parametrize(
    ("lines", "count"),
    [(0, 60), *(pytest.param(seed, 2000, marks=pytest.mark.long) for seed in (0, 1, 2))],
    indirect=["lines"],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    lines: CommandLines, count: int, tmp_path: Path, blank_page: None
) -> None:
    faults = []
    for _ in range(count):
        case = lines.case()
        if fault := fault_of(case, tmp_path):
            faults.append(f"{case}\n    {fault}")
    assert not faults, f"{len(faults)} of {count}:\n" + "\n".join(faults)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("train", ("folder={a:1}",)),
        ("train", ("folder={_target_:a}", "trainer.max_epochs=x")),
        ("train", ("model.head={_target_:a.b}",)),
        ("explain", ("model.head={_target_:a.b}",)),
    ],
)
def test_a_group_where_a_text_is_meant_is_one_line(
    script: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    assert fault_of(Case(script, words, refused=True), tmp_path) is None


def test_a_norm_may_be_a_whole_number(tmp_path: Path, blank_page: None) -> None:
    assert fault_of(Case("explain", ("model.training.adversarial=2",)), tmp_path) is None


def fault_of(case: Case, folder: Path) -> str | None:
    """What is not as it should be when this is run."""
    before = set(folder.rglob("*"))
    script, words = ROOT / "scripts" / f"{case.script}.py", case.words
    if case.script == "new":
        script, words = ROOT / "src" / "seqmodels" / "__main__.py", ("new", *words)
    try:
        with no_longer_than(300):
            done = run_in_process(script, words, folder, case.stdin)
    except BaseException as error:  # noqa: BLE001 (also a call of exit with a text)
        return f"{type(error).__name__}: {error}"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    allowed = {0: 0, 2: 1}
    is_sweep = "-m" in case.words or "--multirun" in case.words
    if case.script in FINDINGS or is_sweep:
        allowed[1] = 0
    if "Traceback" in done.stderr + done.stdout:
        return "traceback: " + " | ".join(done.stderr.splitlines()[-3:])
    if done.returncode not in allowed:
        return f"exit status {done.returncode}: {done.stderr[-300:]}"
    if case.refused and done.returncode != 2:
        return "it was accepted"
    if len(errors) != allowed[done.returncode]:
        return f"status {done.returncode} with {len(errors)} errors: {done.stderr[-300:]}"
    new = sorted(set(folder.rglob("*")) - before)
    if done.returncode == 2 and not is_sweep and (left := [p for p in new if not is_cache(p)]):
        results = [p for p in left if p.name == "result.json"]
        if not results or json.loads(results[0].read_text())["status"] != "failed":
            return f"{errors[0]} left {', '.join(str(p.relative_to(folder)) for p in left[:3])}"
    if case.script == "predict" and done.returncode == 0 and "--help" not in case.words:
        for line in done.stdout.splitlines():
            json.loads(line, parse_constant=refuse)
    return None


def is_cache(path: Path) -> bool:
    return "cache" in path.parts or "__pycache__" in path.parts


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hangs(f"still running after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
