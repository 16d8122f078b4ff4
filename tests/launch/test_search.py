"""Search for the best values: the same after any end, with any number of workers."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from optuna.samplers import RandomSampler

from seqmodels.callbacks.pruning import Pruning
from seqmodels.errors import UserError
from seqmodels.interruption import Pruned
from seqmodels.launch.search import _distribution, open_study, sampler
from seqmodels.plain_values import flattened
from seqmodels.runs import train
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.metrics_file import read_metrics
from tests.conftest import Refused, Script, command, result_of

LR = "model.optimizer.lr=tag(log,interval(1e-4,1e-1))"
SPACE = (
    LR,
    "model.encoder.hidden_size=int(interval(4,16))",
    "model.head=choice(max_pool,mean_pool)",
)
SEARCH = ("-m", "hparams_search=optuna", *SPACE, "model.dropout=0.1")
QUICK = ("trainer.max_epochs=2", "trainer=cpu", "baseline=false", "callbacks.dataflow=null")
DATA = ("data=uea", "data.name=GunPoint")
METRIC = "validation/loss"


def loss(values: Mapping[str, Any]) -> float:
    """Smallest at a learning rate of 0.01, and better with max_pool."""
    return abs(math.log10(values["model.optimizer.lr"]) + 2) + (values["model.head"] != "max_pool")


class Trainings:
    """In place of trainings: the loss of each is known, and some end in other ways."""

    def __init__(self, **ends: BaseException) -> None:
        self.ends, self.begun = ends, list[str]()

    def __call__(self, config: DictConfig, *_: object, **__: object) -> None:
        folder = RunFolder(Path(config.folder))
        self.begun.append(folder.path.name)
        if folder.path.name in self.ends:
            raise self.ends[folder.path.name]
        plain = OmegaConf.to_container(config, resolve=True)
        OmegaConf.save(config, folder.config_file, resolve=True)
        result = {"status": "completed", "seed": 0, "config": plain, "seconds": {"total": 1.0}}
        result["metric"] = "loss"
        folder.write_result({**result, "metrics": {METRIC: loss(flattened(plain))}})


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainings]:
    """`trainings("3_trial"=UserError(""))`: the trainings from here on."""

    def replace(**ends: BaseException) -> Trainings:
        made = Trainings(**ends)
        monkeypatch.setattr("seqmodels.runs.training.train", made)
        return made

    return replace


def trials(sweep: Path) -> list[tuple[Any, ...]]:
    """What a study holds of each trial, but for its times."""
    study = open_study(sweep, 2, METRIC)
    return [
        (t.number, t.state.name, t.params, t.value, t.intermediate_values) for t in study.trials
    ]


def test_a_search_that_is_cut_or_fails_is_finished_by_its_command(
    script: Script, refused: Refused, trainings: Callable[..., Trainings], tmp_path: Path
) -> None:
    words = (*SEARCH, "hydra.sweeper.n_trials=13")  # Optuna learns from the first ten
    trainings()
    script("train.py", *words, f"hydra.sweep.dir={tmp_path / 'whole'}")
    cut = (*words, f"hydra.sweep.dir={tmp_path / 'cut'}")
    trainings(**{"12_trial": SystemExit(3)})
    script("train.py", *cut, status=3)
    assert [trial[1] for trial in trials(tmp_path / "cut")] == ["COMPLETE"] * 12 + ["RUNNING"]
    again = trainings(**{"12_trial": UserError("no luck")})
    done = script("train.py", *cut, status=1)
    assert again.begun == ["12_trial"] and re.search("trial 12 of 13: .*failed, no", done.stdout)
    assert "12 of 13 trials completed" in done.stdout
    again = trainings()
    longer = script("train.py", *cut, "hydra.sweeper.n_trials=14", "tags=[x]")
    assert again.begun == ["12_trial", "13_trial"] and "14 of 14 trials" in longer.stdout
    whole = trials(tmp_path / "whole")
    assert trials(tmp_path / "cut")[:13] == whole
    assert len({str(params) for _, _, params, *_ in whole}) == 13
    for change in ("model.dropout=0.2", LR.replace("4", "3"), "sweep.metric=validation/accuracy"):
        line = refused("train.py", *(cut[0], *cut[2:]), "hparams_search=optuna", change)
        assert "cut holds another search: choose another sweep folder" in line
    (tmp_path / "cut" / "journal.log").write_text("{}\n{}\n")
    assert "journal.log is not the journal of a search" in refused("train.py", *cut)


def test_a_search_whose_trials_all_fail_has_no_winner(
    refused: Refused, trainings: Callable[..., Trainings]
) -> None:
    trainings(**{f"{n}_trial": UserError("no file") for n in range(3)})
    assert "has no winner" in refused("train.py", *SEARCH, "hydra.sweeper.n_trials=3")


def test_a_search_learns(tmp_path: Path) -> None:
    space = {key: _distribution(word) for key, word in zip(("lr", "size", "head"), parse(*SPACE))}
    space = {f"model.{'optimizer.' * (key == 'lr')}{key}": values for key, values in space.items()}
    means = {}
    for name in ("ours", "random"):
        (tmp_path / name).mkdir()
        study = open_study(tmp_path / name, None, METRIC)
        for number in range(30):
            study.sampler = sampler(3, number) if name == "ours" else RandomSampler(number)
            trial = study.ask(space)
            study.tell(trial, loss(trial.params))
        means[name] = sum(trial.value or 0 for trial in study.trials[-12:]) / 12
    assert means["ours"] < 0.6 * means["random"]


@pytest.mark.parametrize(("warmup", "stops"), [(2, 2), (5, 5), (None, None)])
def test_a_trial_that_is_worse_than_others_is_pruned(
    tmp_path: Path, warmup: int | None, stops: int | None
) -> None:
    study = open_study(tmp_path, warmup, METRIC)
    stopped = []
    for number in range(8):
        trial = study.ask()
        for step in range(1, 20):
            trial.report(1.0 + number / step, step)  # each is worse than those before
            if trial.should_prune():
                stopped.append(step)
                break
        study.tell(trial, 1.0)
    assert min(stopped, default=None) == stops


def parse(*words: str) -> list[Any]:
    return OverridesParser.create().parse_overrides([*words])


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
    ],
)
def test_hydras_words_are_a_space(word: str, expected: str) -> None:
    assert str(_distribution(parse(f"x={word}")[0])) == expected


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("sweep.metric=null",), "sweep.metric=None: a search ranks by a metric of the validation"),
        (("sweep.metric=test/loss",), "sweep.metric=test/loss: a search ranks by .*validation"),
        (("sweep.metric=validation/acuracy",), "unknown metric .*did you mean accuracy"),
        (("model.dropout=interval(0.5,0.1)",), r"model.dropout=interval\(0.5,0.1\): .*0.1"),
        (("model.dropout=tag(log,interval(0,0.1))",), "model.dropout=.*: .*log"),
        (("model.dropout=uniform(0,1)",), "model.dropout=.*Unknown function 'uniform'"),
        (("model.dropout=interval(0,7)",), "model.dropout=7.0: .*less than 1"),
        (("model.dropot=interval(0,0.5)",), "model.dropot .*did you mean model.dropout"),
        (("model.head=mean_pool,max_pol",), "model.head=max_pol: .*did you mean max_pool"),
        (("seed=0,1",), "a search needs a space, without the seed"),
        (("hydra.sweeper.warmup=-1",), "hydra.sweeper.warmup=-1: .*equal to 0"),
        (("hydra.sweeper.n_trials=0",), "hydra.sweeper.n_trials=0: .*equal to 1"),
        (("hydra.sweeper.at_once=0",), "hydra.sweeper.at_once=0: .*equal to 1"),
        (
            ("model.optimizer.lr=0.1", "model.encoder.hidden_size=8", "model.dropout=0.1"),
            "a search needs a space",
        ),
    ],
)
def test_a_mistake_ends_a_search_in_one_line(
    refused: Refused, tmp_path: Path, words: tuple[str, ...], error: str
) -> None:
    line = refused("train.py", "-m", "hparams_search=optuna", *words)
    assert re.search(f"^error: .*{error}", line), line
    assert [*tmp_path.glob("runs/*/*")] == []


def test_an_interval_without_a_search_asks_for_one(refused: Refused) -> None:
    line = refused("train.py", "-m", "model.dropout=interval(0,0.5)")
    assert "model.dropout=interval(0,0.5): to search an interval, add hparams_search" in line


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


@pytest.mark.slow
@pytest.mark.pictures
def test_a_search_finds_a_winner_and_prints_its_comparison_with_the_default(
    script: Script, tmp_path: Path
) -> None:
    sweep = tmp_path / "a search"
    own = ("experiment=char_classification", "data=text", "data.train=my.csv", "logger=none")
    rows = "".join(f"a {word} film,{word}\n" for word in ("fine", "dull") * 60)
    (tmp_path / "my.csv").write_text(f"text,label\n{rows}")
    quick = (*own, *QUICK[1:], "debug=limit", "~model.embedding.noise", "data.batch_size=8")
    words = (*SEARCH, *quick, f"hydra.sweep.dir='{sweep}'", "hydra.sweeper.n_trials=3")
    done = script("train.py", *words)
    assert done.stderr == ""
    study = open_study(sweep, 5, METRIC)
    best = study.best_trial
    for trial in study.trials:  # the values of the study are those of the runs
        saved = flattened(RunFolder(sweep / f"{trial.number}_trial").read_config())
        assert {key: saved[key] for key in trial.params} == trial.params
        assert trial.value == result_of(sweep / f"{trial.number}_trial")["metrics"][METRIC]
    assert "3 of 3 trials completed, 0 were pruned" in done.stdout
    assert f"Trial {best.number} is the best by validation/loss: {best.value:.4f}" in done.stdout
    for name in ("trials.csv", "optimization_history.png", "param_importances.png"):
        assert (sweep / name).stat().st_size > 0
    # what was printed trains the default and the winner, and compares them
    *_, default, winner = (
        shlex.split(line.removeprefix("seqmodels train ").replace("seed=1,2,3,4,5", "seed=1,2"))
        for line in done.stdout.splitlines()
    )
    assert {*winner} - {*default} == {f"{key}={value}" for key, value in best.params.items()}
    script("train.py", *default)
    compared = script("train.py", *winner)
    assert "2 of 2: seed=2: test/loss" in compared.stdout
    assert "Ranked by the test split." in compared.stdout and compared.stderr == ""
    contest = tmp_path / "a search_contest"
    runs = [RunFolder(file.parent) for file in contest.glob("*/result.json")]
    assert len(runs) == 4
    own = flattened(RunFolder(sweep / f"{best.number}_trial").read_config())
    [found] = [
        found
        for run in runs
        if (found := flattened(run.read_config()))["seed"] == 1
        and found["model.optimizer.lr"] == own["model.optimizer.lr"]
    ]
    other = {key for key in {**own, **found} if own.get(key) != found.get(key)}
    assert {key.partition(".")[0] for key in other if "dirpath" not in key} <= {
        *("folder", "seed", "data", "sweep")  # data.seed is the seed
    }


@pytest.mark.slow
def test_a_search_that_is_killed_finds_the_same(tmp_path: Path, script: Script) -> None:
    words = (*SEARCH, *DATA, *QUICK, "trainer.max_epochs=6", "hydra.sweeper.n_trials=4")
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
    script("train.py", *words, f"hydra.sweep.dir={killed}")
    assert trials(killed) == trials(whole)
    resumed = [result_of(killed / f"{n}_trial").get("resumed", []) for n in range(4)]
    assert [len(stretches) for stretches in resumed] == [0, 1, 0, 0]


@pytest.mark.long
def test_two_workers_share_a_search(tmp_path: Path, process: Script) -> None:
    sweep = tmp_path / "sweep"
    workers = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.at_once=2")
    words = (*SEARCH, *DATA, *QUICK, *workers, "hydra.sweeper.n_trials=5")
    process("train.py", *words, f"hydra.sweep.dir={sweep}")
    found = trials(sweep)
    assert [trial[:2] for trial in found] == [(number, "COMPLETE") for number in range(5)]
    assert len({str(params) for _, _, params, *_ in found}) == 5
