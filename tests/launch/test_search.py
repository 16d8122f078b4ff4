"""Search for the best values: the same after any end, with any number of workers."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from seqmodels.errors import UserError
from seqmodels.launch.search import _distribution, open_study, sampler
from seqmodels.plain_values import flattened, resolved
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.result import Result
from tests.conftest import Refused, Script, result_of
from tests.launch.conftest import running_sweep

LR = "model.optimizer.lr=tag(log,interval(1e-4,1e-1))"
SPACE = (
    LR,
    "model.encoder.hidden_size=int(interval(4,16))",
    "model.head=choice(max_pool,mean_pool)",
)
SEARCH = ("-m", "hparams_search=optuna", *SPACE, "model.dropout=0.1")
QUICK = ("trainer=cpu", "baseline=false", "callbacks.dataflow=null", "callbacks.pictures=null")
METRIC = "validation/loss"


def loss(values: Mapping[str, Any]) -> float:
    """Smallest at a learning rate of 0.01, and better with max_pool."""
    return abs(math.log10(values["model.optimizer.lr"]) + 2) + (values["model.head"] != "max_pool")


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`trainings("3_trial"=UserError(""))`: in place of trainings, whose losses are known, and some
    of which end otherwise; gives the names of those that begin."""

    def replace(**ends: BaseException) -> list[str]:
        begun: list[str] = []

        def train(config: DictConfig, *_: object, **__: object) -> None:
            folder = RunFolder(Path(config.folder))
            begun.append(folder.path.name)
            if end := ends.get(folder.path.name):
                raise end
            plain = resolved(config)
            OmegaConf.save(config, folder.config_file, resolve=True)
            result = Result(seed=0, config=plain, seconds={"total": 1.0}, metric="loss")
            result.status = "completed"
            result.metrics = {METRIC: loss(flattened(plain))}
            folder.write_result(result)

        monkeypatch.setattr("seqmodels.runs.training.train", train)
        return begun

    return replace


def trials(sweep: Path) -> list[tuple[Any, ...]]:
    """What a study holds of each trial, but for its times."""
    study = open_study(sweep, METRIC)
    return [(t.number, t.state.name, t.params, t.value) for t in study.trials]


def parse(*words: str) -> list[Any]:
    return OverridesParser.create().parse_overrides([*words])


# ---------------------------------------------------------------- the command


def test_a_search_that_is_cut_or_fails_is_finished_by_its_command(
    script: Script, refused: Refused, trainings: Callable[..., list[str]], tmp_path: Path
) -> None:
    words = (*SEARCH, "hydra.sweeper.n_trials=13")  # Optuna learns from the first ten
    trainings()
    script("train.py", *words, f"hydra.sweep.dir={tmp_path / 'whole'}")
    cut = (*words, f"hydra.sweep.dir={tmp_path / 'cut'}")
    trainings(**{"12_trial": SystemExit(3)})
    script("train.py", *cut, status=3)
    states = [state for _, state, *_ in trials(tmp_path / "cut")]
    assert states == ["COMPLETE"] * 12 + ["RUNNING"]
    again = trainings(**{"12_trial": UserError("no luck")})
    done = script("train.py", *cut, status=1)
    assert again == ["12_trial"] and re.search("trial 12 of 13: .*failed, no", done.stdout)
    again = trainings()
    longer = script("train.py", *cut, "hydra.sweeper.n_trials=14", "tags=[x]")
    assert again == ["12_trial", "13_trial"] and "14 of 14 trials" in longer.stdout
    whole = trials(tmp_path / "whole")
    assert trials(tmp_path / "cut")[:13] == whole
    assert len({str(params) for _, _, params, *_ in whole}) == 13
    line = refused("train.py", *cut[:-1], "model.dropout=0.2", cut[-1])
    assert "cut holds another search" in line


@pytest.mark.slow
def test_a_search_that_is_killed_finds_its_winner_and_how_to_compare_it_with_the_default(
    script: Script, tmp_path: Path
) -> None:
    own = ("experiment=char_classification", "data=text", "data.train=my.csv", "logger=none")
    rows = "".join(f"a {word} film,{word}\n" for word in ("fine", "dull") * 60)
    (tmp_path / "my.csv").write_text(f"text,label\n{rows}")
    quick = (*own, *QUICK, "debug=limit", "~model.embedding.noise", "data.batch_size=8")
    words = (*SEARCH, *quick, "hydra.sweeper.n_trials=3", "trainer.max_epochs=2")
    killed = tmp_path / "killed"
    with running_sweep(killed, 2, *words) as running:
        running.kill()
    sweep = tmp_path / "a search"
    done = script("train.py", *words, f"hydra.sweep.dir='{sweep}'")
    script("train.py", *words, f"hydra.sweep.dir={killed}")
    assert trials(killed) == trials(sweep) and done.stderr == ""

    best = open_study(sweep, METRIC).best_trial
    for number, _, params, value in trials(sweep):  # the values of the study are the runs'
        saved = flattened(RunFolder(sweep / f"{number}_trial").read_config())
        assert {key: saved[key] for key in params} == params
        assert value == result_of(sweep / f"{number}_trial")["metrics"][METRIC]
    assert "3 of 3 trials completed. Trial" in done.stdout
    assert f"Trial {best.number} is the best by validation/loss: {best.value:.4f}" in done.stdout
    assert (sweep / "trials.csv").is_file()
    # what was printed trains the default and the winner, and compares them
    *_, default, winner = (
        shlex.split(line.removeprefix("seqmodels train ").replace("seed=1,2,3,4,5", "seed=1,2"))
        for line in done.stdout.splitlines()
    )
    assert {*winner} - {*default} == {f"{key}={value}" for key, value in best.params.items()}
    script("train.py", *default)
    compared = script("train.py", *winner)
    assert "Ranked by the test split." in compared.stdout and compared.stderr == ""
    tried = RunFolder(sweep / f"{best.number}_trial").read_config()["model"]
    contest = (tmp_path / "a search_contest").glob("*/result.json")
    found = [RunFolder(file.parent).read_config()["model"] == tried for file in contest]
    assert sorted(found) == [False, False, True, True]  # of either seed


# ---------------------------------------------------------------- the space


def test_hydras_words_are_a_space() -> None:
    for word, expected in {
        "interval(0,0.5)": FloatDistribution(0, 0.5),
        "tag(log,interval(1e-4,1))": FloatDistribution(1e-4, 1, log=True),
        "int(interval(2,8))": IntDistribution(2, 8),
        "range(2,9,2)": IntDistribution(2, 8, step=2),  # 9 is not in it
        "range(0,1,0.25)": FloatDistribution(0, 0.75, step=0.25),
        "1,2,1": CategoricalDistribution(["1", "2"]),
    }.items():
        assert _distribution(parse(f"x={word}")[0]) == expected


# ---------------------------------------------------------------- what learns


def test_a_search_learns(tmp_path: Path) -> None:
    keys = ("model.optimizer.lr", "model.encoder.hidden_size", "model.head")
    space = {key: _distribution(word) for key, word in zip(keys, parse(*SPACE))}
    means = {}
    for name in ("ours", "random"):
        (tmp_path / name).mkdir()
        study = open_study(tmp_path / name, METRIC)
        for number in range(30):
            study.sampler = sampler(3, number) if name == "ours" else RandomSampler(number)
            trial = study.ask(space)
            study.tell(trial, loss(trial.params))
        means[name] = sum(trial.value or 0 for trial in study.trials[-12:]) / 12
    assert means["ours"] < 0.6 * means["random"]
