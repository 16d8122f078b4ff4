"""Where runs and sweeps are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from seqmodels.errors import UserError

PLAN = "sweep.json"  # in the folder of a sweep: its command, its number of jobs, what varies


def run_folder(resume: str | None, fresh: str) -> str:
    """The folder of a run: a new one, or that of the run that goes on in it."""
    return resume if resume and Path(resume).is_dir() else fresh


def sweep_folder(resume: str | bool | None, fresh: str, overrides: Sequence[str]) -> str:
    """The folder of a sweep: a new one, or that of an earlier one that is to be completed.

    As an absolute path, since jobs may start in other working directories.

    Args:
        resume: the folder of an earlier sweep; True: the newest beside `fresh` of the same command.
        fresh: where a new one would be.
        overrides: the command.

    Raises:
        UserError: if there is no such sweep.
    """
    if resume is None or resume is False:
        return str(Path(fresh).resolve())
    if resume is not True:
        if not (Path(resume) / PLAN).is_file():
            raise UserError(f"sweep.resume={resume}: no sweep there (it has no {PLAN})")
        return str(Path(resume).resolve())
    plans = sorted(Path(fresh).parent.glob(f"*/{PLAN}"), key=lambda plan: plan.stat().st_mtime)
    for plan in reversed(plans):
        if json.loads(plan.read_text())["overrides"] == without_resume(overrides):
            return str(plan.parent.resolve())
    raise UserError(
        f"sweep.resume=true: no earlier sweep of this command in {Path(fresh).parent}; "
        "name its folder, or leave sweep.resume out"
    )


def without_resume(overrides: Sequence[str]) -> list[str]:
    """The command of a sweep, whether it is completed later or not."""
    return [override for override in overrides if not override.startswith("sweep.resume=")]


def short_name(overrides: Sequence[str], sweep: str) -> str:
    """`max_pool_seed-2`: what a job's overrides vary in the sweep of this folder."""
    varied = json.loads((Path(sweep) / PLAN).read_text())["varied"]
    parts = []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key in varied:
            name = key.rpartition(".")[2]
            part = value if name == "head" else f"{name}-{value}"
            parts.append("".join(c if c.isalnum() or c in "-_.+" else "-" for c in part))
    return "_".join(parts)[:80]
