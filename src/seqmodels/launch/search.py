"""Search for the best values with Optuna: a sweep whose jobs are trials."""

from __future__ import annotations

import math
import shlex
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from matplotlib import pyplot
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as draw

from seqmodels.arguments import Count, Natural, Seed, arguments, validated
from seqmodels.callbacks.pruning import Pruning
from seqmodels.engine.metrics import more_is_better
from seqmodels.errors import UserError, refusing, unusable
from seqmodels.files import write_text
from seqmodels.launch.hydra_setup import NO_SETTING, key_of
from seqmodels.launch.sweep import check_jobs, parsed
from seqmodels.plain_values import change
from seqmodels.runs.folder import RunFolder

MOST_FAILURES = 5  # of the first trials: then the others would fail too
FRESH_SEEDS = 5  # of the contest that is printed at the end
BESIDE = ("debug", "local", "logger", "paths", "tags", "task_name")  # which no experiment holds


@dataclass(frozen=True)
class Settings:
    """`hydra.sweeper` of a search, as `configs/hydra/sweeper/search.yaml` documents it."""

    n_trials: Count
    at_once: Count
    sampler: Literal["tpe", "random"]
    pruner: Literal["median", "none"]
    warmup: Natural
    seed: Seed
    params: dict[str, Any] | None = None  # the space, as files give it
    trial: Natural | None = None  # of a job

    @classmethod
    def of(cls, values: Any) -> Settings:
        plain = {key: value for key, value in values.items() if key != "_target_"}
        return cls(**validated(arguments(Settings), plain, "hydra.sweeper"))


def search(values: Any, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
    """Run the trials that have not ended, `at_once` of them together, and write down the winner.

    A trial is a job, and its number is the name of its folder. One that was left running, or has
    failed, is repeated with its values.

    Args:
        values: of `Settings`; the others are Hydra's.
    """
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context, task_function=task_function, config=config
    )
    settings, metric = Settings.of(values), config.sweep.metric
    folder = Path(config.hydra.sweep.dir)
    fixed, space = divided(config)
    _check(config, fixed, space)
    folder.mkdir(parents=True, exist_ok=True)
    study, failed = open_study(folder, settings, metric), dict[int, str]()
    settled = sorted(word for word in fixed if _group(word) not in NO_SETTING)
    choice = [metric, settled, sorted(f"{key}: {values}" for key, values in space.items())]
    if study.user_attrs.get("choice", choice) != choice:
        raise UserError(f"{folder} holds another search: choose another sweep folder")
    study.set_user_attr("choice", choice)
    left = [trial.number for trial in study.trials if not trial.state.is_finished()]
    while left or len(study.trials) < settings.n_trials:
        batch, left = left[: settings.at_once], left[settings.at_once :]
        while len(batch) < settings.at_once and len(study.trials) < settings.n_trials:
            study.sampler = _sampler(settings, len(study.trials))
            batch.append(study.ask(space).number)
        jobs = [
            [
                *(*fixed, *_words(study.trials[number])),
                *(f"+hydra.sweeper.trial={number}", f"hydra.sweep.subdir={number}_trial"),
            ]
            for number in batch
        ]
        for ended in launcher.launch(jobs, initial_job_idx=batch[0]):
            _ = ended.return_value  # raises what the job raised
        for number in batch:
            result = RunFolder(folder / f"{number}_trial").result_if_any()
            if result.get("status") == "completed":
                study.tell(number, result["metrics"].get(metric, math.nan))
            elif result.get("status") == "pruned":
                study.tell(number, state=TrialState.PRUNED)
            else:  # it stays running for Optuna, and so is repeated when the search is resumed
                failed[number] = str(result.get("error"))
        if len(failed) >= MOST_FAILURES and not any(t.state.is_finished() for t in study.trials):
            raise UserError(f"the first {len(failed)} trials failed: {next(iter(failed.values()))}")
    _report(study, config, fixed, folder)
    if failed:
        sys.exit(1)


def open_study(folder: Path, settings: Settings, metric: str) -> optuna.Study:
    """The study of a sweep folder, as any of its processes sees it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    path = str(folder / "journal.log")
    with unusable(f"{path} is not the journal of a search"):
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path))),
            sampler=RandomSampler(),
            pruner=NopPruner()
            if settings.pruner == "none"
            else MedianPruner(n_warmup_steps=settings.warmup),
            study_name="search",
            direction="maximize" if more_is_better(metric) else "minimize",
            load_if_exists=True,
        )


def pruning(metric: str, number: int) -> Pruning:
    """The callback that reports the validations of this process's trial, and ends it early."""
    hydra = HydraConfig.get()
    study = open_study(Path(hydra.sweep.dir), Settings.of(hydra.sweeper), metric)
    return Pruning(optuna.Trial(study, study.trials[number]._trial_id), metric)


def _sampler(settings: Settings, number: int) -> BaseSampler:
    """By the number of the trial: so a search that was cut finds the same."""
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if settings.sampler == "random":
        return RandomSampler(seed)
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _words(trial: FrozenTrial) -> list[str]:
    return [f"{key}={value}" for key, value in trial.params.items()]


def divided(config: DictConfig) -> tuple[list[str], dict[str, Any]]:
    """What all trials share, and the space that they choose from, as Optuna's distributions.

    Raises:
        UserError: for a key whose values nothing can be chosen from.
    """
    words = parsed(config)
    fixed = [str(word.input_line) for word in words if not word.is_sweep_override()]
    return fixed, {w.get_key_element(): _distribution(w) for w in words if w.is_sweep_override()}


def _distribution(override: Override) -> Any:
    values: Any = override.value()
    with refusing(str(override.input_line), ValueError):
        step: Any = None
        if isinstance(values, IntervalSweep):
            listed: list[Any] = [values.start, values.end]
        elif isinstance(values, RangeSweep):
            listed, step = sorted(values.range()) or [values.start], abs(values.step)
        else:
            return CategoricalDistribution([*dict.fromkeys(override.sweep_string_iterator())])
        low, high, log = listed[0], listed[-1], "log" in values.tags
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log, step=step or 1)
        return FloatDistribution(low, high, log=log, step=step)


def _check(config: DictConfig, fixed: list[str], space: dict[str, Any]) -> None:
    if not str(config.sweep.metric).startswith("validation/"):
        raise UserError(
            f"sweep.metric={config.sweep.metric}: a search ranks by a metric of the validation, "
            "such as validation/loss"
        )
    if not space or "seed" in space:
        raise UserError(
            "a search needs a space, without the seed, of which it would choose the luckiest: add "
            "what to choose from, such as model.optimizer.lr='tag(log, interval(1e-4, 1e-1))'"
        )
    ends = {k: getattr(d, "choices", None) or (d.low, d.high) for k, d in space.items()}
    for number in range(max(map(len, ends.values()))):
        some = [f"{key}={each[number % len(each)]}" for key, each in ends.items()]
        check_jobs(config, [[*fixed, *some]])


def _report(study: optuna.Study, config: DictConfig, fixed: Sequence[str], folder: Path) -> None:
    """Write `trials.csv`, Optuna's pictures, and the winner and the default as experiments; say how
    to compare them."""
    with refusing(f"{folder} has no winner", ValueError):
        best = study.best_trial
    study.trials_dataframe().to_csv(folder / "trials.csv", index=False)
    (folder / "experiment").mkdir(exist_ok=True)
    for name, words in {"winner": [*fixed, *_words(best)], "default": fixed}.items():
        write_text(folder / "experiment" / f"{name}.yaml", experiment(words))
    pyplot.switch_backend("agg")  # Optuna draws with pyplot
    with pyplot.rc_context(), suppress(ValueError, RuntimeError):  # importance, of equal scores
        for name in ("optimization_history", "param_importances"):
            axes = getattr(draw, f"plot_{name}")(study)
            axes.figure.savefig(folder / f"{name}.png", dpi=160, bbox_inches="tight")
            pyplot.close(axes.figure)
    states = [trial.state.name for trial in study.trials]
    not_in_files = [word for word in fixed if word[0] == "~" or _group(word) in BESIDE]
    contest = [
        *("-m", "--config-dir", str(folder.absolute()), *not_in_files, "experiment=winner,default"),
        "seed=" + ",".join(f"{config.seed + number}" for number in range(1, 1 + FRESH_SEEDS)),
        "sweep.metric=" + config.sweep.metric.replace("validation/", "test/"),
    ]
    print(
        f"{states.count('COMPLETE')} of {len(states)} trials completed, {states.count('PRUNED')} "
        f"were pruned. Trial {best.number} is the best by {config.sweep.metric}: {best.value:.4f}, "
        f"with {' '.join(_words(best))}\nIt owes part of its place to luck: compare it with the "
        f"default on new seeds, by\nseqmodels train {shlex.join(contest)}"
    )


def experiment(words: Sequence[str]) -> str:
    """A file that gives to `experiment=` what these words choose and set."""
    loader = GlobalHydra.instance().config_loader()
    defaults, values = list[Any](), dict[str, Any]()
    for word in OverridesParser.create().parse_overrides([*words]):
        key, value = word.key_or_group, word.value()
        if key == "experiment":
            defaults.insert(0, value)
        elif word.is_delete() or _group(key) in ("hparams_search", "sweep", *BESIDE):
            continue
        elif loader.get_group_options(key):
            defaults.append({f"override /{key}": value})
        else:
            values[key] = value
    made: dict[str, Any] = {"defaults": [*defaults, "_self_"]}
    change(made, values)
    return f"# @package _global_\n{OmegaConf.to_yaml(OmegaConf.create(made))}"


def _group(word: str) -> str:
    return key_of(word).partition(".")[0]
