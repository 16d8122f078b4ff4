"""Search for the best values with Optuna: a sweep whose jobs ask for their values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from optuna import pruners, samplers
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from seqmodels.arguments import Count, Name, Natural, OneOf, Seed
from seqmodels.checking import Checker
from seqmodels.engine.metrics import more_is_better
from seqmodels.errors import UserError, refusing, unusable
from seqmodels.interruption import Pruned
from seqmodels.launch.plan import Overrides, fresh_runs, parsed, read_plan, trial_folder
from seqmodels.runs.folder import RunFolder
from seqmodels.signatures import arguments, raise_first

JOURNAL = "journal.log"  # in the sweep folder: what Optuna knows
MOST_FAILURES = 5  # of the first trials: then the others would fail too


@dataclass
class SearchKeys:
    """`hydra.sweeper` of a search, as `configs/hydra/sweeper/search.yaml` documents it."""

    n_trials: Count
    sampler: Annotated[str, OneOf("tpe", "random")]
    pruner: Annotated[str, OneOf("median", "hyperband", "none")]
    warmup: Natural
    seed: Seed
    metric: Name
    fresh_seeds: Natural
    max_batch_size: Count | None
    params: dict[str, Any] | None


def search(
    settings: Mapping[str, Any],
    *,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
) -> None:
    """Run the trials that have not ended, and then the winner and the default with fresh seeds.

    A trial is a job, and asks for its values when it starts: so it knows what all trials found that
    have ended by then, however many the launcher runs at once.

    Args:
        settings: `SearchKeys`; the others are Hydra's.
    """
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context, task_function=task_function, config=config
    )

    def launch(jobs: Mapping[str, list[str]]) -> None:
        every = [[*job, f"hydra.sweep.subdir={folder}"] for folder, job in jobs.items()]
        size = settings["max_batch_size"] or len(every) or 1
        for start in range(0, len(every), size):
            for ended in launcher.launch(every[start : start + size], initial_job_idx=start):
                _ = ended.return_value  # raises what the job raised

    folder, count = Path(config.hydra.sweep.dir), settings["n_trials"]
    (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)  # of a process that was killed
    direction = "maximize" if more_is_better(settings["metric"]) else "minimize"
    found = Search(folder, direction=direction)
    while len(found.trials) < count:
        found.study.enqueue_trial({})
    left = [t.number for t in found.trials[:count] if not t.state.is_finished()]
    launch({trial_folder(n): [f"+hydra.sweeper.trial={n}", *found.fixed] for n in left})
    words = {"default": found.fixed, "winner": found.words(found.best())}
    seed = int(compose("train", found.fixed).seed)
    launch(
        {
            run: [*words[name], f"seed={seed + number}", f"tags=[{name}]"]
            for run, name, number in fresh_runs(settings)
        }
    )


class Search:
    """The search of a sweep folder, as any of its processes sees it.

    Args:
        folder: with the plan of the search.
        number: of the trial that asks for its values.
        direction: `minimize` or `maximize`, where there may be no trials yet.
    """

    def __init__(self, folder: Path, number: int = 0, direction: Any = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        plan = read_plan(folder)
        settings, self.folder, self.metric = plan["sweeper"], folder, plan["sweeper"]["metric"]
        self.fixed, self.space = divided(plan["overrides"], settings)
        seed = int(np.random.SeedSequence([settings["seed"], number]).generate_state(1)[0])
        sampler = {
            "tpe": samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
            "random": samplers.RandomSampler(seed),
        }[settings["sampler"]]
        warmup = settings["warmup"]
        pruner = {
            "median": pruners.MedianPruner(n_warmup_steps=warmup),
            "hyperband": pruners.HyperbandPruner(min_resource=max(1, warmup)),
            "none": pruners.NopPruner(),
        }[settings["pruner"]]
        path = str(folder / JOURNAL)
        with unusable(f"{path} is not the journal of a search"):
            self.storage = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
            # by the name of the study and a trial's number, hyperband chooses when to look at it
            self.study = optuna.create_study(
                storage=self.storage,
                sampler=sampler,
                pruner=pruner,
                study_name="search",
                direction=direction,
                load_if_exists=True,
            )

    @property
    def trials(self) -> list[Any]:
        return self.study.get_trials(deepcopy=False)

    def of_state(self, *names: str) -> list[Any]:
        """The trials that are `COMPLETE`, `PRUNED` or `FAIL`, as the trials of a failed job are."""
        failed = {t.number for t in self.trials if self._result(t.number).get("status") == "failed"}
        return [t for t in self.trials if ("FAIL" if t.number in failed else t.state.name) in names]

    def _result(self, number: int) -> dict[str, Any]:
        return RunFolder(self.folder / trial_folder(number)).result_if_any()

    def ask(self, number: int) -> Any:
        """An `optuna.Trial` with its values; None if it has ended.

        One that was left running keeps its values, and is resumed in its folder.
        """
        trial = self.trials[number]
        failed = len(self.of_state("FAIL")) >= MOST_FAILURES
        if trial.state.is_finished() or (failed and not self.of_state("COMPLETE", "PRUNED")):
            return None
        if trial.state.name == "WAITING":
            self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        asking = optuna.Trial(self.study, trial._trial_id)
        for key, values in self.space.items():
            if hasattr(values, "choices"):
                asking.suggest_categorical(key, values.choices)
            else:
                whole = isinstance(values.low, int)
                suggest = asking.suggest_int if whole else asking.suggest_float
                suggest(key, values.low, values.high, log=values.log, step=values.step)
        return asking

    def words(self, trial: Any) -> list[str]:
        """The overrides of a trial.

        Raises:
            UserError: if its values are not of the space: the journal may be a stranger's.
        """
        with unusable(f"trial {trial.number} in {self.folder / JOURNAL} is not of this search"):
            for key, values in self.space.items():
                check_distribution_compatibility(trial.distributions[key], values)
        return [*self.fixed, *(f"{key}={trial.params[key]}" for key in self.space)]

    def tell(self, number: int, result: Mapping[str, Any]) -> None:
        """Say how a trial ended, by what its `result.json` holds.

        One that failed is left running: it is repeated, with its number and its values, when the
        search is resumed. Optuna has no way back from `FAIL`, which is for a score of nan.
        """
        status = result.get("status")
        score = result.get("metrics", {}).get(self.metric, math.nan)
        if status == "completed" and math.isfinite(score):
            self.study.tell(number, score)
        elif status != "failed":
            state = TrialState.PRUNED if status == "pruned" else TrialState.FAIL
            self.study.tell(number, state=state)

    def best(self) -> Any:
        """The winner.

        Raises:
            UserError: if no trial completed, with the error of the first that failed.
        """
        if self.of_state("COMPLETE"):
            return self.study.best_trial
        failed = [self._result(trial.number) for trial in self.of_state("FAIL")]
        why = failed[0].get("error") if failed else "the others were pruned"
        raise UserError(f"no trial completed, and {len(failed)} failed: {why}")


def run_trial(number: int) -> None:
    """Run a trial of the search whose sweep this job belongs to.

    Raises:
        UserError: for a metric to search by that the task does not measure.
    """
    from seqmodels.callbacks.pruning import Pruning
    from seqmodels.launch.job import run_job

    hydra = HydraConfig.get()  # a cluster's workers start in a folder of their own
    found = Search(Path(hydra.runtime.cwd, hydra.sweep.dir), number)
    if (trial := found.ask(number)) is None:
        return
    config = compose(hydra.job.config_name, found.words(trial))
    with suppress(Pruned):
        run_job(config, found.words(trial), [Pruning(trial, found.metric)])
    result = RunFolder(Path(config.folder)).result_if_any()
    found.tell(number, result)
    if (error := str(result.get("error"))).startswith(f"sweep.metric={found.metric}: "):
        raise UserError(error)  # of all trials


def divided(overrides: Overrides, sweeper: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """What all trials share, and the space that they choose from, as Optuna's distributions.

    Raises:
        UserError: for a key whose values nothing can be chosen from.
    """
    last = {o.get_key_element(): o for o in parsed(overrides, sweeper)}
    fixed = [str(o.input_line) for o in last.values() if not o.is_sweep_override()]
    return fixed, {key: _distribution(o) for key, o in last.items() if o.is_sweep_override()}


def _distribution(override: Override) -> Any:
    values: Any = override.value()
    step: Any = None
    with refusing(str(override.input_line), ValueError):
        if others := {*getattr(values, "tags", ())} - {"log"}:
            raise ValueError(f"a search knows the tag log, not {min(others)}")
        if hasattr(values, "shuffle"):
            values.shuffle = False  # every process must see the same order
        if isinstance(values, IntervalSweep):
            listed: list[Any] = [values.start, values.end]
        elif isinstance(values, RangeSweep):
            listed, step = sorted(values.range()), abs(values.step)
        else:
            return CategoricalDistribution([*dict.fromkeys(override.sweep_string_iterator())])
        if not listed or not all(map(math.isfinite, listed)):
            raise ValueError("give it two finite ends, the smaller one first")
        low, high, log = listed[0], listed[-1], "log" in values.tags
        if all(isinstance(value, int) for value in listed):
            return IntDistribution(low, high, log=log, step=step or 1)
        return FloatDistribution(low, high, log=log, step=step)


def check_search(config: DictConfig) -> None:
    """Check what a search needs beyond a sweep.

    Raises:
        UserError: naming the key and what to change.
    """
    if not str(config.sweep.metric).startswith("validation/"):
        raise UserError(
            f"sweep.metric={config.sweep.metric}: a search ranks by a metric of the validation: "
            "set sweep.metric, such as validation/loss"
        )
    given: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    if given["metric"] != config.sweep.metric:
        raise UserError(f"hydra.sweeper.metric={given['metric']}: set sweep.metric instead")
    del given["_target_"]
    raise_first(Checker().of_arguments(given, arguments(SearchKeys) or {}, "hydra.sweeper"))
    _, space = divided(config.hydra.overrides.task, given)
    if not space:
        raise UserError(
            "the space of this search is empty: add what to choose from, such as "
            "model.optimizer.lr='tag(log, interval(1e-4, 1e-1))'"
        )
    if "seed" in space:
        raise UserError(
            "seed: a search would choose the luckiest one; give one seed, and set "
            "hydra.sweeper.fresh_seeds to compare the winner with the default on others"
        )
