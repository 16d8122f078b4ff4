"""Search for the best values: the same after any end, with any number of workers."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from seqmodels.callbacks.pruning import Pruning
from seqmodels.errors import UserError
from seqmodels.files import write_json
from seqmodels.interruption import Pruned
from seqmodels.launch.plan import PLAN, make_plan
from seqmodels.launch.search import JOURNAL, MOST_FAILURES, Search, divided
from seqmodels.launch.search_report import _pictures
from seqmodels.plain_values import flattened
from seqmodels.runs import train
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.metrics_file import read_metrics
from seqmodels.screen import Screen
from tests.conftest import ROOT, Refused, Script, command
from tests.in_process import WITHOUT_LOCAL

LR = "model.optimizer.lr=tag(log,interval(1e-4,1e-1))"
SPACE = (
    LR,
    "model.encoder.hidden_size=int(interval(4,16))",
    "model.head=choice(max_pool,mean_pool)",
)
QUICK = ("trainer.max_epochs=2", "trainer=cpu", "baseline=false", "callbacks.dataflow=null")
DATA = ("data=needle", "data.length=12", "data.sizes=[64,16,16]")
OF_SEARCH = {
    **{"sampler": "tpe", "pruner": "median", "warmup": 2, "seed": 3},
    "metric": "validation/loss",
}


def search_in(folder: Path, **settings: Any) -> Callable[..., Search]:
    """`search(number)`: as each process of a search in this folder opens it."""
    folder.mkdir(exist_ok=True)
    sweeper = {**OF_SEARCH, "n_trials": 30, "params": {}, **settings}
    write_json(folder / PLAN, make_plan(list(SPACE), sweeper))
    found = Search(folder, direction="minimize")
    for _ in range(sweeper["n_trials"]):
        found.study.enqueue_trial({})
    return lambda number=0: Search(folder, number)


def loss(values: Mapping[str, Any]) -> float:
    """Smallest at a learning rate of 0.01, and better with max_pool."""
    return abs(math.log10(values["model.optimizer.lr"]) + 2) + (values["model.head"] != "max_pool")


def run_trials(search: Callable[..., Search], numbers: range) -> list[dict[str, Any]]:
    found = []
    for number in numbers:
        one = search(number)
        if (trial := one.ask(number)) is not None:
            found.append(trial.params)
            one.tell(number, {"status": "completed", "metrics": {one.metric: loss(trial.params)}})
    return found


def test_a_serial_search_repeats_whatever_process_runs_its_trials(tmp_path: Path) -> None:
    first, again = (search_in(tmp_path / name) for name in ("first", "again"))
    found = run_trials(first, range(16))
    run_trials(again, range(13))
    left = again(13).ask(13)  # and killed
    assert left is not None and left.params == found[13]
    assert run_trials(again, range(16)) == found[13:]
    assert again().best().number == first().best().number
    assert run_trials(again, range(16)) == []  # all have ended
    assert [trial.number for trial in again().trials] == list(range(30))
    other = run_trials(search_in(tmp_path / "other", seed=4), range(3))
    assert not any(values in found for values in other)


def test_a_search_learns(tmp_path: Path) -> None:
    means = {}
    for sampler in ("tpe", "random"):
        losses = [*map(loss, run_trials(search_in(tmp_path / sampler, sampler=sampler), range(30)))]
        means[sampler] = sum(losses[-12:]) / 12
    assert means["tpe"] < 0.6 * means["random"]


def test_how_a_trial_ended_is_told(tmp_path: Path) -> None:
    search = search_in(tmp_path / "search")
    for number, (status, metrics) in enumerate(
        (
            ("completed", {"validation/loss": 0.5}),
            ("completed", {"validation/loss": math.nan}),
            ("pruned", {}),
            ("failed", {}),
        )
    ):
        one = search(number)
        assert one.ask(number) is not None
        one.tell(number, {"status": status, "metrics": metrics})
    states = [trial.state.name for trial in search().trials[:4]]
    assert states == ["COMPLETE", "FAIL", "PRUNED", "RUNNING"]
    assert search().best().value == 0.5
    failed(tmp_path / "search" / "3_trial")
    assert [trial.number for trial in search().of_state("FAIL")] == [1, 3]
    again = search().ask(3)  # when the search is resumed
    assert again is not None and again.params == search().trials[3].params
    search(3).tell(3, {"status": "completed", "metrics": {"validation/loss": 0.25}})
    assert search().best().number == 3


def failed(folder: Path) -> None:
    """Writes what a failed job leaves."""
    folder.mkdir()
    RunFolder(folder).write_result(
        {"status": "failed", "error": "no file", "seed": 0, "config": {}, "metrics": {}}
    )


@pytest.mark.parametrize(("pruner", "stops"), [("median", 2), ("hyperband", 2), ("none", None)])
def test_a_trial_that_is_worse_than_others_is_pruned(
    tmp_path: Path, pruner: str, stops: int | None
) -> None:
    search = search_in(tmp_path / "search", pruner=pruner)
    stopped = []
    for number in range(8):
        one = search(number)
        trial = one.ask(number)
        assert trial is not None
        for step in range(1, 20):
            trial.report(1.0 + number / step, step)  # each is worse than those before
            if trial.should_prune():
                stopped.append(step)
                one.tell(number, {"status": "pruned"})
                break
        else:
            one.tell(number, {"status": "completed", "metrics": {"validation/loss": 1.0}})
    assert min(stopped, default=None) == stops


def test_trials_that_all_fail_end_a_search(tmp_path: Path) -> None:
    search = search_in(tmp_path / "search")
    for number in range(MOST_FAILURES):
        one = search(number)
        assert one.ask(number) is not None
        failed(tmp_path / "search" / f"{number}_trial")
        one.tell(number, {"status": "failed"})
    assert search(MOST_FAILURES).ask(MOST_FAILURES) is None
    with pytest.raises(UserError, match="^no trial completed, and 5 failed: no file$"):
        search().best()


@pytest.mark.parametrize("equal", [False, True])
def test_what_matters_is_drawn_where_trials_differ(tmp_path: Path, equal: bool) -> None:
    search = search_in(tmp_path / "search")
    for number in range(3):
        one = search(number)
        assert one.ask(number) is not None
        score = 0.5 if equal else number / 4
        one.tell(number, {"status": "completed", "metrics": {"validation/loss": score}})
    background = matplotlib.rcParams["axes.facecolor"]
    drawn = [path.stem for path in _pictures(search(), Screen(quiet=True))]
    assert matplotlib.rcParams["axes.facecolor"] == background  # of the comparison, later
    assert drawn == ["history", "slices", *([] if equal else ["importances"])]


def test_a_strangers_journal_cannot_name_other_values(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    run_trials(search_in(folder), range(1))
    journal = (folder / JOURNAL).read_text()
    (folder / JOURNAL).write_text(journal.replace("max_pool", "evil").replace("mean_pool", "evil2"))
    strange = Search(folder)
    assert "evil" in strange.best().params["model.head"]
    with pytest.raises(UserError, match="^trial 0 in .* is not of this search"):
        strange.words(strange.best())
    (folder / JOURNAL).write_text("{}\n{}\n")
    with pytest.raises(UserError, match="journal.log is not the journal of a search"):
        Search(folder)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("interval(0,0.5)", "FloatDistribution(high=0.5, log=False, low=0.0, step=None)"),
        (
            "tag(log,interval(1e-4,1))",
            "FloatDistribution(high=1.0, log=True, low=0.0001, step=None)",
        ),
        ("int(interval(2,8))", "IntDistribution(high=8, log=False, low=2, step=1)"),
        ("range(2,9,2)", "IntDistribution(high=8, log=False, low=2, step=2)"),  # 9 is not in it
        ("range(0,1,0.25)", "FloatDistribution(high=0.75, log=False, low=0.0, step=0.25)"),
        ("1,2,1", "CategoricalDistribution(choices=('1', '2'))"),
        (
            "shuffle(choice(c,b,a,d,e))",
            "CategoricalDistribution(choices=('c', 'b', 'a', 'd', 'e'))",
        ),
    ],
)
def test_hydras_words_are_a_space(word: str, expected: str) -> None:
    fixed, space = divided([f"x={word}", "y=1"], {"params": {"y": "1,2", "z": "3"}})
    assert str(space["x"]) == expected
    assert space.keys() == {"x"} and sorted(fixed) == ["y=1", "z=3"]  # the command line counts


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("sweep.metric=null",), "sweep.metric=None: a search ranks by a metric of the validation"),
        (("sweep.metric=test/loss",), "sweep.metric=test/loss: a search ranks by .*validation"),
        (("sweep.metric=validation/acuracy",), "unknown metric .*did you mean accuracy"),
        (("hydra.sweeper.metric=validation/f1",), "hydra.sweeper.metric=.*: set sweep.metric"),
        (
            ("sweep.metric=validation/f1", *DATA, *QUICK),
            "sweep.metric=validation/f1: choose one of",
        ),
        (("model.dropout=interval(0.5,0.1)",), r"model.dropout=interval\(0.5,0.1\): .*0.1"),
        (("model.dropout=tag(log,interval(0,0.1))",), "model.dropout=.*: .*log"),
        (
            ("model.dropout=tag(lgo,interval(0,0.1))",),
            "model.dropout=.*: a search knows the tag log",
        ),
        (("model.dropout=range(1,1)",), "model.dropout=.*: give it two finite ends"),
        (("model.dropout=uniform(0,1)",), "model.dropout=.*Unknown function 'uniform'"),
        (("model.dropout=interval(0,7)",), "model.dropout=7.0: .*less than 1"),
        (("model.dropot=interval(0,0.5)",), "model.dropot .*did you mean model.dropout"),
        (("model.head=max_pol,mean_pool",), "model.head=max_pol: .*did you mean max_pool"),
        (("seed=0,1",), "seed: a search would choose the luckiest"),
        (("hydra.sweeper.sampler=tep",), "hydra.sweeper.sampler=tep: .*did you mean tpe"),
        (("hydra.sweeper.n_trials=0",), "hydra.sweeper.n_trials=0: .*at least 1"),
        (
            ("hydra.sweeper.n_trial=3",),
            "hydra.sweeper.n_trial .*did you mean hydra.sweeper.n_trials",
        ),
        (
            ("model.optimizer.lr=0.1", "model.encoder.hidden_size=8", "model.dropout=0.1"),
            "the space of this search is empty: add",
        ),
    ],
)
def test_a_mistake_ends_a_search_in_one_line(
    refused: Refused, tmp_path: Path, words: tuple[str, ...], error: str
) -> None:
    line = refused("train.py", "-m", "hparams_search=optuna", *words)
    assert re.search(f"^error: .*{error}", line), line
    assert len([*tmp_path.glob("runs/*/*_trial")]) == (words[0] == "sweep.metric=validation/f1")


def test_an_interval_without_a_search_asks_for_one(refused: Refused) -> None:
    line = refused("train.py", "-m", "model.dropout=interval(0,0.5)")
    assert line.endswith("to search an interval, add hparams_search=optuna")


def test_a_search_without_optuna_says_how_to_install_it(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = refused("train.py", "-m", "hparams_search=optuna")
    assert re.fullmatch(r"error: .*needs a package.*: pip install '.*\b(optuna|search)\b.*'", line)


class Judge:
    """An `optuna.Trial` whose pruner stops it after a validation, or never."""

    number = 0

    def __init__(self, last: int) -> None:
        self.last, self.intermediate_values = last, dict[int, float]()

    @property
    def study(self) -> Any:
        return type("Study", (), {"trials": [self]})

    def report(self, value: float, step: int) -> None:
        assert step not in self.intermediate_values
        self.intermediate_values[step] = value

    def should_prune(self) -> bool:
        return max(self.intermediate_values, default=0) >= self.last


def test_each_validation_is_reported_and_the_pruner_ends_the_training(
    config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    often = ("trainer.val_check_interval=0.5", "trainer.max_epochs=3")
    settings = config(*DATA, *QUICK, *often, "data.batch_size=16")
    judge = Judge(last=3)
    with pytest.raises(Pruned, match="^validation/loss .* after validation 3$"):
        train(settings, callbacks=[Pruning(judge, "validation/loss")])
    folder = RunFolder(tmp_path / "run")
    rows = [row for row in read_metrics(folder.metrics_file) if "validation/loss" in row]
    reported = judge.intermediate_values
    assert [*reported] == [1, 2, 3]
    assert [*reported.values()] == pytest.approx([row["validation/loss"] for row in rows])
    result = folder.read_result()
    assert result["status"] == "pruned" and result["metrics"] == {}
    assert result["error"] == f"validation/loss {reported[3]:.4g} after validation 3"


def test_a_trial_that_was_killed_when_it_was_pruned_is_pruned_again(
    config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    judge = Judge(last=1)
    judge.intermediate_values[1] = 0.7
    with pytest.raises(Pruned):
        train(config(*DATA, *QUICK), callbacks=[Pruning(judge, "validation/loss")])
    assert [*judge.intermediate_values][-1] <= 2  # it does not train to the end


def trials(sweep: Path) -> list[tuple[Any, ...]]:
    """What a study holds of each trial, but for its times."""
    return [
        (t.number, t.state.name, t.params, t.value, t.intermediate_values)
        for t in Search(sweep).trials
    ]


def statuses(sweep: Path) -> list[str]:
    return [
        json.loads((sweep / f"{number}_trial" / "result.json").read_text())["status"]
        for number in range(len(list(sweep.glob("*_trial"))))
    ]


@pytest.mark.slow
def test_a_search_finds_a_winner_and_compares_it_with_the_default(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    words = ("-m", "hparams_search=optuna", *SPACE, "model.dropout=0.1", *DATA, *QUICK)
    words = (*words, f"hydra.sweep.dir={sweep}", "hydra.sweeper.n_trials=4")
    done = script("train.py", *words, "hydra.sweeper.fresh_seeds=3")
    assert done.stderr == "", done.stderr
    assert statuses(sweep) == ["completed"] * 4
    best = Search(sweep).best()
    assert best.value == min(trial.value for trial in Search(sweep).trials if trial.value)
    assert "4 of 4 trials completed, 0 were pruned and 0 failed" in done.stdout
    assert f"Trial {best.number} is the best by validation/loss" in done.stdout
    for file in ("trials.csv", "history.png", "slices.png", "importances.png", "comparison.md"):
        assert (sweep / file).stat().st_size > 0
    # the values of the study are those of the runs
    for trial in Search(sweep).trials:
        saved = flattened(RunFolder(sweep / f"{trial.number}_trial").read_config())
        assert {key: saved[key] for key in trial.params} == trial.params
        result = RunFolder(sweep / f"{trial.number}_trial").read_result()
        assert trial.value == result["metrics"]["validation/loss"]
    # winner and default on the same fresh seeds, by the test split
    fresh = sorted(sweep.glob("fresh*/*/result.json"))
    seeds = [json.loads(file.read_text())["seed"] for file in fresh]
    assert seeds == [1, 2, 3, 1, 2, 3]
    assert "Ranked by the test split." in done.stdout
    comparison = (sweep / "comparison.md").read_text()
    assert "| winner | 3 |" in comparison and "| default | 3 |" in comparison
    assert "test/loss" in comparison and "caution" not in comparison
    # the winner's file is the winner
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        given = f"hydra.searchpath=[file://{sweep}]"
        config = compose("train", [given, "experiment=winner", "folder=x", *WITHOUT_LOCAL])
    own = flattened(RunFolder(sweep / f"{best.number}_trial").read_config())
    found = flattened(OmegaConf.to_container(config, resolve=True))
    other = {key for key in {**own, **found} if own.get(key) != found.get(key)}
    assert {key.partition(".")[0] for key in other} <= {"folder", "sweep", "callbacks", "hydra"}

    before = trials(sweep)
    longer = (*words[:-1], f"sweep.resume={sweep}", "hydra.sweeper.fresh_seeds=0")
    more = script("train.py", *longer, "hydra.sweeper.n_trials=5")
    assert "4 already completed or pruned" in more.stdout
    assert trials(sweep)[:4] == before and len(trials(sweep)) == 5
    for change in (
        "hydra.sweeper.sampler=random",
        "hydra.sweeper.pruner=none",
        LR.replace("4", "3"),
    ):
        line = refused("train.py", *longer, "hydra.sweeper.n_trials=5", change)
        assert "runs with another configuration (" in line
    assert trials(sweep)[:4] == before


@pytest.mark.slow
def test_a_search_that_is_killed_finds_the_same(tmp_path: Path, script: Script) -> None:
    words = ("-m", "hparams_search=optuna", *SPACE, *DATA, *QUICK, "trainer.max_epochs=6")
    words = (*words, "hydra.sweeper.n_trials=4", "hydra.sweeper.fresh_seeds=0")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    script("train.py", *words, f"hydra.sweep.dir={whole}")
    running = subprocess.Popen(
        command("train.py", *words, f"hydra.sweep.dir={killed}"),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not (killed / "1_trial" / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert statuses(killed)[:2] == ["completed", "interrupted"]
    script("train.py", *words, f"sweep.resume={killed}")
    assert trials(killed) == trials(whole)
    resumed = [RunFolder(killed / f"{n}_trial").read_result().get("resumed", []) for n in range(4)]
    assert [len(stretches) for stretches in resumed] == [0, 1, 0, 0]


@pytest.mark.long
def test_two_workers_share_a_search(tmp_path: Path, process: Script) -> None:
    sweep = tmp_path / "sweep"
    words = ("-m", "hparams_search=optuna", *SPACE, *DATA, *QUICK, "trainer.max_epochs=1")
    words = (*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    words = (*words, "hydra.sweeper.n_trials=6", "hydra.sweeper.fresh_seeds=0")
    process("train.py", *words, f"hydra.sweep.dir={sweep}")
    found = Search(sweep).trials
    assert [trial.number for trial in found] == list(range(6))
    assert len({str(trial.params) for trial in found}) == 6
    for trial in found:
        saved = flattened(RunFolder(sweep / f"{trial.number}_trial").read_config())
        assert {key: saved[key] for key in trial.params} == trial.params
