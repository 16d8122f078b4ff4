"""The plan of a sweep: its jobs, and the folder of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import ListConfig, OmegaConf

from seqmodels.errors import UserError, unusable
from seqmodels.plain_values import read_json

# texts, or Hydra's own list of them: looking at one there resolves the `${...}` in it
Overrides = Any
Sweeper = Mapping[str, Any] | None  # `hydra.sweeper`
PLAN = "sweep.json"  # in each sweep folder
# keys that say how a sweep is run; they change none of its results
NO_SETTING = ("folder", "sweep", "callbacks", "resume", "paths", "logger", "task_name", "tags")
# keys of `hydra.sweeper` that decide which values a search tries; Optuna's journal lacks them
OF_SEARCH = ("sampler", "pruner", "warmup", "seed", "metric")


def make_plan(
    overrides: Overrides, sweeper: Sweeper = None, earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what `sweep.json` holds: the `overrides`, the `varied` keys, the number of `jobs`, and
    `folders`: the name of each job's folder, by the job's settings. For a search, whose jobs are
    its trials, also the `sweeper`.

    Args:
        earlier: the plan of the sweep that this one extends: its jobs keep their folders.

    Raises:
        UserError: if that sweep has other settings.
    """
    choices = _choices(overrides, sweeper)
    varied = [_key(key) for key, words in choices.items() if len(words) > 1]
    if earlier is not None:
        _check_extends(earlier, choices, sweeper)
    jobs = [*product(*choices.values())]
    folders = dict(earlier["folders"]) if earlier is not None else {}
    plan: dict[str, Any] = {
        "overrides": without_resume(overrides),
        "varied": varied,
        "jobs": len(jobs),
    }
    if sweeper is not None and is_search(sweeper):
        plan["sweeper"] = {name: sweeper[name] for name in (*OF_SEARCH, "n_trials")}
        plan["sweeper"]["params"] = dict(sweeper.get("params") or {})
    for job in jobs:
        number = len(folders)
        name = trial_folder(number) if "sweeper" in plan else f"{number}_{short_name(job, varied)}"
        folders.setdefault(_settings(job, varied), name)
    return {**plan, "folders": folders}


def trial_folder(number: int) -> str:
    """Return the name of the folder of a trial."""
    return f"{number}_trial"


def fresh_runs(sweeper: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Return the folder of each run of a search with a fresh seed, whether it is of the `default`
    or of the `winner`, and by how much its seed differs from that of the trials. More trials may
    have another winner, and have the same default."""
    seeds = range(1, sweeper["fresh_seeds"] + 1)
    places = {"default": "fresh", "winner": f"fresh_{sweeper['n_trials']}"}
    return [(f"{places[name]}/{name}_{n}", name, n) for name in places for n in seeds]


def is_search(sweeper: Mapping[str, Any]) -> bool:
    """Whether `hydra.sweeper` searches, instead of running every combination."""
    return "n_trials" in sweeper


def read_plan(sweep: Path, sweeper: Sweeper = None) -> dict[str, Any]:
    """Return the plan of a sweep folder.

    Raises:
        UserError: if it is broken, or names a folder that is not inside the sweep's.
    """
    path = sweep / PLAN
    with unusable(f"{path} is not the plan of a sweep"):
        plan: dict[str, Any] = dict(read_json(path))
        if "folders" not in plan:  # of a version that numbered the jobs of a command anew
            return make_plan(plan["overrides"], sweeper)
        for name in plan["folders"].values():
            if not re.fullmatch(r"\d+_[\w.+-]*", name):
                raise UserError(f"{name!r:.60} is not the folder of a job")
        if "sweeper" in plan:
            _choices(plan["overrides"], plan["sweeper"])
    return plan


def jobs_here(plan: Mapping[str, Any], sweeper: Sweeper = None) -> set[str]:
    """Return the names of the folders of the jobs of a plan's own command."""
    jobs = product(*_choices(plan["overrides"], sweeper).values())
    names = {plan["folders"][_settings(job, plan["varied"])] for job in jobs}
    fresh = fresh_runs(sweeper) if sweeper is not None and is_search(sweeper) else []
    return names | {folder for folder, *_ in fresh}


def job_folder(number: int, overrides: Overrides, sweep: str) -> str:
    """Return the name of a job's folder.

    Args:
        number: the job's number in this command.
        overrides: the job's overrides.
        sweep: the sweep folder, which holds the plan.
    """
    plan, job = read_plan(Path(sweep)), as_typed(overrides)
    known: str | None = plan["folders"].get(_settings(job, plan["varied"]))
    return known or f"{number}_{short_name(job, plan['varied'])}"


def short_name(job: Iterable[str], varied: Iterable[str]) -> str:
    """Name a job after the values that vary in its sweep, such as `max_pool_seed-2`."""
    parts = []
    for override in job:
        key, _, value = override.lstrip("+").partition("=")
        if key in varied:
            name = key.rpartition(".")[2]
            part = value if name == "head" else f"{name}-{value}"
            parts.append("".join(c if c.isalnum() or c in "-_.+" else "-" for c in part))
    return "_".join(parts)[:80]


def as_typed(overrides: Overrides) -> list[str]:
    """Return the overrides as they were typed: a `${...}` in them is not resolved."""
    if isinstance(overrides, ListConfig):
        return OmegaConf.to_container(overrides, resolve=False)  # type: ignore[return-value]
    return list(overrides)


def without_resume(overrides: Overrides) -> list[str]:
    """Return the overrides that identify a sweep, which resuming it does not change."""
    return [o for o in as_typed(overrides) if not o.startswith("sweep.resume=")]


def parsed(overrides: Overrides, sweeper: Sweeper = None) -> list[Override]:
    """Return the parsed overrides of a sweep, first from its configuration files."""
    params = (sweeper or {}).get("params") or {}
    always = [f"{key}={value}" for key, value in params.items()]
    return OverridesParser.create().parse_overrides([*always, *without_resume(overrides)])


def _choices(overrides: Overrides, sweeper: Sweeper) -> dict[str, list[str]]:
    """The words that the jobs choose from, by key, as Hydra's sweeper writes them.

    Those of a search are the numbers of its trials; its space is part of what all trials share.
    """
    choices: dict[str, list[str]] = {}
    search = sweeper if sweeper is not None and is_search(sweeper) else None
    for override in parsed(overrides, sweeper):  # the last override of a key counts
        key = override.get_key_element()
        if not override.is_sweep_override():
            values = [override.get_value_element_as_str()]
        elif search:
            values = [override.get_value_string()]
        elif override.is_interval_sweep():
            raise UserError(
                f"{override.input_line}: to search an interval, add hparams_search=optuna"
            )
        else:
            values = [*override.sweep_string_iterator()]
        choices[key] = [f"{key}={value}" for value in values]
    if search:
        choices |= {f"hydra.sweeper.{n}": [f"hydra.sweeper.{n}={search[n]}"] for n in OF_SEARCH}
        choices["trial"] = [f"trial={number}" for number in range(search["n_trials"])]
    return choices


def _check_extends(
    earlier: Mapping[str, Any], choices: Mapping[str, list[str]], sweeper: Sweeper
) -> None:
    of_grid = {"params": (sweeper or {}).get("params")}
    before = _choices(earlier["overrides"], earlier.get("sweeper", of_grid))

    def fixed(own: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> set[str]:
        once = {key: words[0] for key, words in own.items() if len(words) == 1}
        return {w for key, w in once.items() if _is_setting(key) and len(other.get(key, [])) < 2}

    if differing := fixed(before, choices) ^ fixed(choices, before):
        raise UserError(
            f"the sweep folder holds runs with another configuration ({min(differing)} is not in "
            "both commands): choose another sweep folder"
        )


def _settings(job: Iterable[str], varied: Iterable[str]) -> str:
    return " ".join(sorted(w for w in job if _key(w) in varied or _is_setting(w)))


def _is_setting(word: str) -> bool:
    return _key(word).partition(".")[0] not in NO_SETTING


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
