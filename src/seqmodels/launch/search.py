"""Search for the best values with Optuna: a sweep whose jobs are trials."""

from __future__ import annotations

import math
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial

from seqmodels.arguments import Count, Seed
from seqmodels.errors import UserError, refusing, unusable
from seqmodels.files import write_text
from seqmodels.launch.composed import job_folder
from seqmodels.launch.sweep import parsed
from seqmodels.metrics import more_is_better
from seqmodels.runs.folder import RunFolder
from seqmodels.words import as_override, read_word

JOURNAL = "journal.log"  # the file in the sweep folder
STUDY = "search"  # the name of the study in it


def search(
    n_trials: Count,
    at_once: Count,
    seed: Seed,
    *,
    hydra_context: Any,
    task_function: Any,
    config: DictConfig,
) -> None:
    """Run the trials that have not ended, `at_once` of them together, and say which is the best.

    A trial is a job, and its number is the name of its folder. If the search is resumed, one that
    was left running, or has failed, is repeated with its values.
    `configs/hydra/sweeper/search.yaml` documents the first three; the others are Hydra's.
    """
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context, task_function=task_function, config=config
    )
    folder = Path(config.hydra.sweep.dir)
    metric = config.sweep.metric
    fixed_words = []
    space = {}  # the distribution of each key that varies
    for word in parsed(config):
        if word.is_sweep_override():
            space[word.get_key_element()] = _distribution(word)
        else:
            fixed_words.append(str(word.input_line))
    _check_search(config, space)
    folder.mkdir(parents=True, exist_ok=True)
    study = open_study(folder, metric)
    _check_same_search(study, [metric, job_folder(fixed_words), _in_words(space)], folder)
    has_failed = False
    unfinished = [trial.number for trial in study.trials if not trial.state.is_finished()]
    while unfinished or len(study.trials) < n_trials:
        batch = unfinished[:at_once]
        unfinished = unfinished[at_once:]
        while len(batch) < at_once and len(study.trials) < n_trials:
            study.sampler = sampler(seed, len(study.trials))
            batch.append(study.ask(space).number)
        jobs = [
            [*fixed_words, *_words(study.trials[number]), f"hydra.sweep.subdir={number}_trial"]
            for number in batch
        ]
        for completed_job in launcher.launch(jobs, initial_job_idx=batch[0]):
            _ = completed_job.return_value  # It raises what the job raised.
        if not _tell_results(study, batch, folder, metric):
            has_failed = True
    _report(study, config, fixed_words, folder)
    if has_failed:
        sys.exit(1)


def _tell_results(study: optuna.Study, batch: Sequence[int], folder: Path, metric: str) -> bool:
    """Tell a study the metric of each of its trials that is completed; return whether all are. The
    others stay running for Optuna, and so are repeated when the search is resumed."""
    all_completed = True
    for number in batch:
        result = RunFolder(folder / f"{number}_trial").result_if_any()
        if result and result.completed:
            study.tell(number, result.metrics.get(metric, math.nan))
        else:
            all_completed = False
    return all_completed


def _in_words(space: Mapping[str, Any]) -> list[str]:
    return sorted(f"{key}: {distribution}" for key, distribution in space.items())


def _check_same_search(study: optuna.Study, choice: list[Any], folder: Path) -> None:
    """Make sure that a study that is resumed has the same metric, fixed words and space."""
    if study.user_attrs.get("choice", choice) != choice:
        raise UserError(f"{folder} holds another search: choose another sweep folder")
    study.set_user_attr("choice", choice)


def open_study(folder: Path, metric: str) -> optuna.Study:
    """The study of a sweep folder."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    path = str(folder / JOURNAL)
    with unusable(f"{path} is not the journal of a search"):
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path))),
            study_name=STUDY,
            direction="maximize" if more_is_better(metric) else "minimize",
            load_if_exists=True,
        )


def sampler(seed: int, number: int) -> TPESampler:
    """The sampler of the trial with this number, so that a search that was cut finds the same."""
    state = np.random.SeedSequence([seed, number]).generate_state(1)
    return TPESampler(seed=int(state[0]), multivariate=True, constant_liar=True)


def _words(trial: FrozenTrial) -> list[str]:
    return [f"{key}={value}" for key, value in trial.params.items()]


def _distribution(override: Override) -> Any:
    """What a trial draws the value of a word from: an interval, the steps of a range, or a list."""
    sweep: Any = override.value()
    with refusing(str(override.input_line), ValueError):
        step: Any = None
        if isinstance(sweep, IntervalSweep):
            low: Any = sweep.start
            high: Any = sweep.end
        elif isinstance(sweep, RangeSweep):
            values: list[Any] = sorted(sweep.range()) or [sweep.start]
            low = values[0]
            high = values[-1]
            step = abs(sweep.step)
        else:
            different_values = dict.fromkeys(override.sweep_string_iterator())
            return CategoricalDistribution(list(different_values))
        is_logarithmic = "log" in sweep.tags
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=is_logarithmic, step=step or 1)
        return FloatDistribution(low, high, log=is_logarithmic, step=step)


def _check_search(config: DictConfig, space: dict[str, Any]) -> None:
    metric = config.sweep.metric
    if not str(metric).startswith("validation/"):
        raise UserError(f"sweep.metric={metric}: a search ranks by one such as validation/loss")
    if not space or "seed" in space:
        raise UserError(
            "a search needs a space, without the seed, of which it would choose the luckiest: add "
            "what to choose from, such as model.optimizer.lr='tag(log, interval(1e-4, 1e-1))'"
        )


def _report(
    study: optuna.Study, config: DictConfig, fixed_words: Sequence[str], folder: Path
) -> None:
    """Write `trials.csv`, and say how to compare the winner with the default."""
    with refusing(f"{folder} has no winner", ValueError):
        best = study.best_trial
    write_text(folder / "trials.csv", study.trials_dataframe().to_csv(index=False))
    completed_count = sum(trial.state.is_finished() for trial in study.trials)
    print(
        f"{completed_count} of {len(study.trials)} trials completed. Trial {best.number} is the "
        f"best by {config.sweep.metric}: {best.value:.4f}, with {' '.join(_words(best))}\n"
        "It owes part of its place to luck: compare it with the default on new seeds, by"
    )
    new_seeds = [f"{config.seed + number}" for number in range(1, 6)]
    contest_folder = folder.absolute().with_name(f"{folder.name}_contest")
    contest_words = [
        f"seed={','.join(new_seeds)}",
        "sweep.metric=" + config.sweep.metric.replace("validation/", "test/"),
        as_override("hydra.sweep.dir", contest_folder),
    ]
    replaced_keys = ("hparams_search", "seed", "sweep.metric")
    shared_words = [word for word in fixed_words if read_word(word).key not in replaced_keys]
    for words_of_setting in ([], _words(best)):
        words = ["-m", *shared_words, *words_of_setting, *contest_words]
        print("seqmodels train", shlex.join(words))
