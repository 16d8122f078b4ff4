"""Name the folders of runs and sweeps."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from seqmodels.errors import UserError
from seqmodels.launch.plan import PLAN, Overrides, Params, make_plan, read_plan


def run_folder(resume: str | None, fresh: str) -> str:
    """Return the folder of the run to resume, or `fresh` for a new run."""
    return resume if resume and Path(resume).is_dir() else fresh


def sweep_folder(
    resume: str | bool | None, fresh: str, overrides: Overrides, params: Params = None
) -> str:
    """Return the folder of the sweep to resume, or `fresh` for a new sweep.

    The path is absolute, because jobs may start in other working directories.

    Args:
        resume: the folder of an earlier sweep; or True, for the newest sweep beside `fresh` that
            has the same overrides, or else has no jobs that this one lacks.
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
    now = make_plan(overrides, params)
    plans = sorted(Path(fresh).parent.glob(f"*/{PLAN}"), key=lambda plan: plan.stat().st_mtime)
    shorter: Path | None = None
    for path in reversed(plans):
        with suppress(UserError):  # another's folder, whose plan is broken
            plan = read_plan(path.parent, params)
            if plan["overrides"] == now["overrides"]:
                return str(path.parent.resolve())
            if plan["folders"].keys() <= now["folders"].keys():
                shorter = shorter or path.parent
    if shorter is not None:
        return str(shorter.resolve())
    raise UserError(
        f"sweep.resume=true: no earlier sweep of this command in {Path(fresh).parent}; "
        "name its folder, or leave out sweep.resume"
    )
