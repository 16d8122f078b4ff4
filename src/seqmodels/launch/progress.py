"""Show the progress of a sweep, whose jobs may run in other processes."""

from __future__ import annotations

import atexit
import math
import sys
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from seqmodels.compare.records import default_metrics
from seqmodels.runs.folder import RunFolder
from seqmodels.screen import Screen, duration, visible_line

ENDS = ("completed", "pruned", "failed")  # statuses


class SweepProgress:
    """Print a line for each job that ends, above a bar over all jobs.

    Watches the `result.json` files in the sweep folder, because jobs may run in other processes or
    on other machines.

    Args:
        folder: of the sweep.
        names: of the folders of this command's jobs.
        search: the metric of a search, where a pruned trial has ended; None for other sweeps.
    """

    def __init__(self, folder: Path, names: Collection[str], search: str | None = None) -> None:
        self.folder, self.names = folder, names
        self._search = search
        jobs = len(names)
        self._ended: set[Path] = set()
        self._started = time.monotonic()
        self._at_once = 1  # the most jobs seen training together
        self._estimated = False
        self._stopped = threading.Event()
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Screen(file=sys.stdout),  # the jobs redirect sys.stdout
            refresh_per_second=2,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=jobs)
        count = "1 job" if jobs == 1 else f"{jobs} jobs"
        self._bar.console.print(f"sweep of {count}: {folder}", soft_wrap=True)
        self._resume(("completed", "pruned") if search else ("completed",))
        self._jobs_to_do = jobs - len(self._ended)
        self._bar.start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def stop(self, last_line: str | None = None) -> None:
        """Show the jobs that ended since the last look, remove the bar, and say something last."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()
            self._look()
            self._bar.stop()
        if last_line is not None:  # not by print, because a job may have redirected it
            self._bar.console.print(last_line, soft_wrap=True)

    def wait_for_workers(self, seconds: float = 60.0) -> None:
        """Wait until no job trains any more, at most so long."""
        deadline = time.monotonic() + seconds
        while any(RunFolder(job).is_training for job in self._jobs()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)

    def _resume(self, final: Collection[str]) -> None:
        """Count the jobs of these statuses, and let others that failed run again."""
        for job in self._jobs():
            status = RunFolder(job).result_if_any().get("status")
            if status in final:
                self._ended.add(job)
            elif status == "failed":
                RunFolder(job).result_file.unlink()
        if self._ended:
            self._bar.console.print(f"{len(self._ended)} already {' or '.join(final)}")
            self._bar.advance(self._task, len(self._ended))

    def _run(self) -> None:
        while not self._stopped.wait(0.5):
            self._look()

    def _look(self) -> None:
        unfinished = sorted(self._jobs() - self._ended)
        training = sum(RunFolder(job).is_training for job in unfinished)
        self._at_once = max(self._at_once, training)
        for job in unfinished:
            result = RunFolder(job).result_if_any()
            if result.get("status") in ENDS:
                self._ended.add(job)
                self._bar.advance(self._task)
                try:
                    summary = _summary(job, result, self._search)
                except (KeyError, TypeError, ValueError):
                    summary = f"{job.name}: {RunFolder(job).result_file} is not what a run writes"
                self._bar.console.print(visible_line(summary), soft_wrap=True)
                alike = result["status"] == "completed" and not result.get("resumed")
                if alike and not self._estimated:
                    with suppress(KeyError, TypeError, ValueError):  # not what a run writes
                        self._estimate(result)

    def _estimate(self, result: Mapping[str, Any]) -> None:
        """Say once, after the first job that this command trained from its beginning, how long all
        of them will take.

        The first one may also have waited for a place and computed baselines, which the others take
        from the cache, so the others count with their training alone.
        """
        self._estimated = True
        jobs = self._jobs_to_do
        together = min(self._at_once, jobs)
        training = sum(float(result["seconds"][part]) for part in ("setup", "fit", "test"))
        # those beside this one are about to end too
        left = max(self._bar.tasks[self._task].remaining or 0, together - 1) - (together - 1)
        seconds = time.monotonic() - self._started + math.ceil(left / together) * training
        if jobs > 1 and math.isfinite(seconds):
            at_once = f", {together} at once" if together > 1 else ""
            text = f"about {duration(seconds)} in all, if all {jobs} jobs take as long{at_once}"
            self._bar.console.print(text)

    def _jobs(self) -> set[Path]:
        jobs = (self.folder / name for name in self.names)
        return {job for job in jobs if RunFolder(job).result_file.is_file()}


def _summary(job: Path, result: Mapping[str, Any], search: str | None) -> str:
    if result["status"] != "completed":
        return f"{job.name}: {result['status']}, {result['error']}"
    names = [search, *default_metrics([result])]
    metric = next((name for name in names if name in result["metrics"]), None)
    value = f"{metric} {result['metrics'][metric]:.4f}" if metric else "no metric"
    return f"{job.name}: {value}, {result['seconds']['total']:.1f} s"
