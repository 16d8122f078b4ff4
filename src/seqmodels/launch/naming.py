"""Name the folders of runs and sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import ListConfig, OmegaConf

from seqmodels.errors import UserError
from seqmodels.plain import read_json

# texts, or Hydra's own list of them: looking at one there resolves the `${...}` in it
Overrides = Any
PLAN = "sweep.json"  # in each sweep folder: the sweep's overrides, number of jobs, varied keys


def run_folder(resume: str | None, fresh: str) -> str:
    """Return the folder of the run to resume, or `fresh` for a new run."""
    return resume if resume and Path(resume).is_dir() else fresh


def sweep_folder(resume: str | bool | None, fresh: str, overrides: Overrides) -> str:
    """Return the folder of the sweep to resume, or `fresh` for a new sweep.

    The path is absolute, because jobs may start in other working directories.

    Args:
        resume: the folder of an earlier sweep; or True, for the newest sweep beside `fresh` that
            has the same overrides.
        fresh: the folder of a new sweep.
        overrides: those of this sweep.

    Raises:
        UserError: if there is no such sweep.
    """
    if resume is None or resume is False:
        return str(Path(fresh).resolve())
    if resume is not True:
        if not (Path(resume) / PLAN).is_file():
            raise UserError(f"sweep.resume={resume} is not a sweep folder: it has no {PLAN}")
        return str(Path(resume).resolve())
    plans = sorted(Path(fresh).parent.glob(f"*/{PLAN}"), key=lambda plan: plan.stat().st_mtime)
    for plan in reversed(plans):
        if read_json(plan)["overrides"] == without_resume(overrides):
            return str(plan.parent.resolve())
    raise UserError(
        f"sweep.resume=true: no earlier sweep of this command in {Path(fresh).parent}; "
        "name its folder, or leave out sweep.resume"
    )


def as_written(overrides: Overrides) -> list[str]:
    """Return the overrides as they were written: a `${...}` in them is not resolved."""
    if isinstance(overrides, ListConfig):
        return OmegaConf.to_container(overrides, resolve=False)  # type: ignore[return-value]
    return list(overrides)


def without_resume(overrides: Overrides) -> list[str]:
    """Return the overrides that identify a sweep, which resuming it does not change."""
    return [o for o in as_written(overrides) if not o.startswith("sweep.resume=")]


def short_name(overrides: Overrides, sweep: str) -> str:
    """Name a job after the values that vary in its sweep, such as `max_pool_seed-2`.

    Args:
        overrides: those of the job.
        sweep: the sweep folder, which holds the plan.
    """
    varied = read_json(Path(sweep) / PLAN)["varied"]
    parts = []
    for override in as_written(overrides):
        key, _, value = override.lstrip("+").partition("=")
        if key in varied:
            name = key.rpartition(".")[2]
            part = value if name == "head" else f"{name}-{value}"
            parts.append("".join(c if c.isalnum() or c in "-_.+" else "-" for c in part))
    return "_".join(parts)[:80]
