"""The run folder: the names of its files, and all reading and writing of them."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqmodels.errors import UserError, refusing, unusable
from seqmodels.files import write_json, write_text, written_whole
from seqmodels.plain_values import change, read_json, read_yaml
from seqmodels.runs.lock import is_locked
from seqmodels.runs.result import Result
from seqmodels.words import as_override


def _within(name: str) -> Any:
    return property(lambda folder: folder.path / name)


@dataclass(frozen=True)
class RunFolder:
    """One run on disk.

    `config.yaml` (resolved), `overrides.yaml`, `environment.json`, `metrics.csv`, `result.json`,
    `train.log`, `dataflow.svg`, `figures/` and `checkpoints/{best,last}.ckpt`; while a finished run
    is trained longer, also `checkpoints/finished.ckpt`, the weights that its result is of. What is
    broken or absent is a `UserError` that names the file.
    """

    path: Path

    config_file, overrides_file = _within("config.yaml"), _within("overrides.yaml")
    environment_file, result_file = _within("environment.json"), _within("result.json")
    metrics_file, log_file = _within("metrics.csv"), _within("train.log")
    figures = _within("figures")
    lock = _within("lock")  # which the process holds that trains here

    @property
    def holds_run(self) -> bool:
        """Whether a new run here would lose something: a checkpoint, the result of a run that has
        ended, or a `config.yaml` of somebody else's. One that failed, or was killed, before its
        first checkpoint has nothing to lose, and the mended command works as it stands."""
        if any(self.path.glob("checkpoints/*.ckpt")):
            return True
        if status := self.status:
            return status == "completed"
        try:
            config: Any = read_yaml(self.config_file) if self.config_file.exists() else None
        except UserError:  # of a run that a full disk has cut
            return False
        return bool(config) and not {"folder", "model", "trainer"} <= {*config}

    def check_free(self) -> None:
        """Raises UserError if it holds a run."""
        if self.holds_run:
            other = f"choose another folder, or {self.how_to_resume()}"
            raise UserError(f"folder={self.path} holds a run already: {other}")

    def check_links(self) -> None:
        """Raises UserError if anything in it is a link: a stranger's folder could have you write
        elsewhere."""
        for path in self.path.rglob("*"):
            if path.is_symlink():
                raise UserError(f"{path} is a link: replace it by what it leads to, or remove it")

    def how_to_resume(self, words: Sequence[str] = ()) -> str:
        """The command that resumes the run, with these words of a command line."""
        command = shlex.join([as_override("resume", self.path), *words])
        return f"resume with seqmodels train {command}"

    def checkpoint_file(self, name: str) -> Path:
        """`best`, `last`, or `finished`, as a result names it."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    # the beginning of a run, and of each resume that changes it

    def write_beginning(
        self, config: DictConfig, overrides: Sequence[str], environment: dict[str, Any]
    ) -> None:
        """`config.yaml`, `overrides.yaml` and `environment.json`."""
        self.figures.mkdir(parents=True, exist_ok=True)
        if self.config_file.exists():  # of a run that failed, and added to these
            for ours in (self.metrics_file, self.overrides_file):
                ours.unlink(missing_ok=True)
        write_text(self.config_file, OmegaConf.to_yaml(config, resolve=True))
        self.add_stretch(0, overrides, {})
        write_json(self.environment_file, environment)

    def add_stretch(self, step: int, overrides: Sequence[str], changes: Mapping[str, Any]) -> None:
        """Adds to `overrides.yaml` that from this step on the run trains with other values: the
        words of the command line, and what they change, by dotted key."""
        words = [word.removeprefix("++") for word in overrides]  # of a resume
        stretch = {"step": step, "overrides": words, "changes": dict(changes)}
        stretches = OmegaConf.create([*self._stretches(), stretch])
        write_text(self.overrides_file, OmegaConf.to_yaml(stretches))

    def changes_since(self, step: int, stretches: int | None = None) -> dict[str, Any]:
        """What the resumes at this step or later have changed, the newest value of each key; of the
        first `stretches` alone, if it is given."""
        later = [each for each in self._stretches()[:stretches] if each["step"] >= step]
        return {key: value for each in later for key, value in each["changes"].items()}

    def _stretches(self) -> list[dict[str, Any]]:
        found = read_yaml(self.overrides_file) if self.overrides_file.is_file() else []
        with unusable(f"{self.overrides_file} does not hold the overrides of a run"):
            return [{**e, "step": int(e["step"]), "changes": dict(e["changes"])} for e in found]

    # the result

    def write_result(self, result: Result) -> None:
        write_json(self.result_file, result.model_dump(exclude_none=True))

    def read_result(self) -> Result:
        """Raises UserError if there is none, or it is not the result of a run of this version."""
        content = read_json(self.result_file)
        with unusable(f"{self.result_file} is not the result of a run of this version"):
            return Result.model_validate(content)

    def keep_finished(self, result: Result) -> Result:
        """Copies the weights that a finished run's result is of, before a longer training replaces
        them, and writes a result that names the copy, which it returns. So what a result says is
        true of its weights, whenever the longer training is killed."""
        if result.is_kept:  # by a longer training that was not finished
            return result
        names = chain(["finished"], (f"finished_{number}" for number in count(2)))
        name = next(name for name in names if not self.checkpoint_file(name).exists())
        weights = self.checkpoint_file(result.weights)
        if weights.is_file():  # else somebody has removed it, and what replaces it is another one
            with written_whole(self.checkpoint_file(name)) as copy, weights.open("rb") as original:
                shutil.copyfileobj(original, copy)
                copy.flush()
                os.fsync(copy.fileno())
        kept = {"weights": name, "stretches": len(self._stretches())}
        result = result.model_copy(update=kept)
        self.write_result(result)
        return result

    def remove_kept(self, result: Result) -> None:
        """Removes the copy that `keep_finished` has made, once there is a newer result."""
        if result.is_kept:
            self.checkpoint_file(result.weights).unlink(missing_ok=True)

    def result_if_any(self) -> Result | None:
        """The same; None where no run has written one, or it is just being replaced."""
        try:
            return self.read_result()
        except UserError:
            return None

    @property
    def status(self) -> str | None:
        """Of the result; None where there is none."""
        result = self.result_if_any()
        return result.status if result else None

    @property
    def is_training(self) -> bool:
        """Whether a process trains in this folder now."""
        return is_locked(self.lock)

    # going back to a run

    def read_config(self, *, stretches: int | None = None) -> dict[str, Any]:
        """The run's configuration, as plain values: nothing in it is resolved, and what would have
        to be is a UserError. It has what the first `stretches` of `overrides.yaml` have changed: 1
        for the beginning of the run, None for all."""
        if not self.config_file.is_file():
            raise UserError(f"{self.path} is not a run folder: it has no config.yaml")
        config = read_yaml(self.config_file)
        if not config or not isinstance(config, dict):
            raise UserError(f"{self.config_file} is not the configuration of a run")
        change(config, self.changes_since(0, stretches))
        if "${" in str(config):  # a run writes resolved values; this may run code of a stranger
            raise UserError(f"{self.config_file} holds an interpolation, which no run writes")
        return config

    def read_environment(self) -> dict[str, Any]:
        """What `environment.json` holds; nothing for a run that failed before it was written."""
        environment = read_json(self.environment_file) if self.environment_file.is_file() else {}
        if not isinstance(environment, dict):
            raise UserError(f"{self.environment_file} is not the environment of a run")
        return environment


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`, without their empty cells; none where there is no file."""
    with refusing(f"{path} is not the metrics of a run", ValueError):
        return [{name: float(text) for name, text in row.items()} for row in rows_of(path)[1]]


def rows_of(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The names of the columns of a `metrics.csv`, and its rows as they are written."""
    if not path.is_file():
        return [], []
    with refusing(f"{path} is not the metrics of a run", ValueError, csv.Error):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [{name: text for name, text in row.items() if text} for row in reader]
        for number, row in enumerate(rows, 1):
            if not {"epoch", "step"} <= row.keys() or None in row:
                raise ValueError(f"row {number} has no epoch and step, or more than its header")
            int(row["step"])
    return [*(reader.fieldnames or ())], rows
