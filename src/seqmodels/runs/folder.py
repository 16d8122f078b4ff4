"""The run folder: the names of its files, and all reading and writing of them."""

from __future__ import annotations

import csv
import io
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """A property of a run folder: the path of the file with this name in it."""
    return property(lambda folder: folder.path / name)


@dataclass(frozen=True)
class RunFolder:
    """One run on disk.

    `config.yaml` (resolved), `overrides.yaml`, `environment.json`, `metrics.csv`, `result.json`,
    `train.log`, `dataflow.svg`, `figures/` and `checkpoints/{best,last}.ckpt`; while a finished run
    is trained longer, also `checkpoints/finished.ckpt`, the weights that its result is of. What is
    broken is a `UserError` that names the file.
    """

    path: Path

    config_file = _within("config.yaml")
    overrides_file = _within("overrides.yaml")
    environment_file = _within("environment.json")
    result_file = _within("result.json")
    metrics_file = _within("metrics.csv")
    log_file = _within("train.log")
    figures = _within("figures")
    lock = _within("lock")  # The process that trains here holds it.

    @property
    def holds_run(self) -> bool:
        """Whether a new run here would lose something: a checkpoint, the result of a run that has
        ended, or a `config.yaml` of somebody else's. One that failed, or was killed, before its
        first checkpoint has nothing to lose, and the mended command works as it stands."""
        if any(self.path.glob("checkpoints/*.ckpt")):
            return True
        if status := self.status:
            return status == "completed"
        if not self.config_file.exists():
            return False
        try:
            config: Any = read_yaml(self.config_file)
        except UserError:  # A full disk has cut the file of a run.
            return False
        is_config_of_run = {"folder", "model", "trainer"} <= {*(config or ())}
        return bool(config) and not is_config_of_run

    def check_free(self) -> None:
        """Raises UserError if it holds a run."""
        if self.holds_run:
            raise UserError(
                f"folder={self.path} holds a run already: choose another folder, or "
                f"{self.how_to_resume()}"
            )

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

    # The beginning of a run, and of each resume that changes it.

    def write_beginning(
        self, config: DictConfig, overrides: Sequence[str], environment: dict[str, Any]
    ) -> None:
        """Writes `config.yaml`, `overrides.yaml` and `environment.json`."""
        self.figures.mkdir(parents=True, exist_ok=True)
        if self.config_file.exists():
            # A run that failed has left these, and this one would be added to them.
            self.metrics_file.unlink(missing_ok=True)
            self.overrides_file.unlink(missing_ok=True)
        write_text(self.config_file, OmegaConf.to_yaml(config, resolve=True))
        self.add_stretch(0, overrides, {})
        write_json(self.environment_file, environment)

    def add_stretch(self, step: int, overrides: Sequence[str], changes: Mapping[str, Any]) -> None:
        """Adds to `overrides.yaml` that from this step on the run trains with other values: the
        words of the command line, and what they change, by dotted key."""
        words = [word.removeprefix("++") for word in overrides]  # A resume has added `++`.
        stretch = {"step": step, "overrides": words, "changes": dict(changes)}
        stretches = OmegaConf.create([*self._stretches(), stretch])
        write_text(self.overrides_file, OmegaConf.to_yaml(stretches))

    def changes_since(self, step: int, stretches: int | None = None) -> dict[str, Any]:
        """What the resumes at this step or later have changed, the newest value of each key; of the
        first `stretches` alone, if it is given."""
        changes = {}
        for stretch in self._stretches()[:stretches]:
            if stretch["step"] >= step:
                changes.update(stretch["changes"])
        return changes

    @property
    def words(self) -> list[str]:
        """The words of the command line that began the run."""
        stretches = self._stretches()
        return stretches[0]["overrides"] if stretches else []

    def _stretches(self) -> list[dict[str, Any]]:
        """The entries of `overrides.yaml`, as `add_stretch` writes them; none without the file."""
        entries = []
        if self.overrides_file.is_file():
            entries = read_yaml(self.overrides_file)
        stretches = []
        with unusable(f"{self.overrides_file} does not hold the overrides of a run"):
            for entry in entries:
                words = [str(word) for word in entry["overrides"]]
                changes = {str(key): value for key, value in entry["changes"].items()}
                stretch = {"step": int(entry["step"]), "overrides": words, "changes": changes}
                stretches.append(stretch)
        return stretches

    # The result.

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
        if result.is_kept:  # A longer training that was not finished has kept them.
            return result
        name = self._free_name()
        weights_file = self.checkpoint_file(result.weights)
        copy_file = self.checkpoint_file(name)
        # If somebody has removed the weights, nothing is copied: what replaces them are others.
        if weights_file.is_file():
            with written_whole(copy_file) as copy, weights_file.open("rb") as original:
                shutil.copyfileobj(original, copy)
                copy.flush()
                os.fsync(copy.fileno())
        stretches = len(self._stretches())
        kept_result = result.model_copy(update={"weights": name, "stretches": stretches})
        self.write_result(kept_result)
        return kept_result

    def _free_name(self) -> str:
        """`finished`, or `finished_2` and so on, whichever first names no checkpoint here."""
        name = "finished"
        number = 1
        while self.checkpoint_file(name).exists():
            number += 1
            name = f"finished_{number}"
        return name

    def remove_kept(self, result: Result) -> None:
        """Removes the copy that `keep_finished` has made, once there is a newer result."""
        if result.is_kept:
            self.checkpoint_file(result.weights).unlink(missing_ok=True)

    def result_if_any(self) -> Result | None:
        """What `read_result` gives; None where no run has written a result, or it is just being
        replaced."""
        try:
            return self.read_result()
        except UserError:
            return None

    @property
    def status(self) -> str | None:
        """The status of the result; None where there is none."""
        result = self.result_if_any()
        return result.status if result else None

    @property
    def is_training(self) -> bool:
        """Whether a process trains in this folder now."""
        return is_locked(self.lock)

    # Going back to a run.

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
        # A run writes resolved values. To resolve others may run code of a stranger.
        if "${" in str(config):
            raise UserError(f"{self.config_file} holds an interpolation, which no run writes")
        return config

    def read_environment(self) -> dict[str, Any]:
        """What `environment.json` holds; nothing for a run that failed before it was written."""
        if not self.environment_file.is_file():
            return {}
        environment = read_json(self.environment_file)
        if not isinstance(environment, dict):
            raise UserError(f"{self.environment_file} is not the environment of a run")
        return environment


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`, without their empty cells; none where there is no file."""
    history = []
    with refusing(f"{path} is not the metrics of a run", ValueError):
        _, rows = rows_of(path)
        for row in rows:
            numbers = {name: float(text) for name, text in row.items()}
            history.append(numbers)
    return history


def rows_of(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The names of the columns of a `metrics.csv`, and its rows as they are written, without a last
    one that a kill has cut off."""
    if not path.is_file():
        return [], []
    with refusing(f"{path} is not the metrics of a run", ValueError, csv.Error):
        whole_lines, end, _ = path.read_bytes().rpartition(b"\n")
        reader = csv.DictReader(io.StringIO((whole_lines + end).decode(), newline=""))
        rows = []
        for cells in reader:
            row = {name: text for name, text in cells.items() if text}
            rows.append(row)
        for number, row in enumerate(rows, 1):
            # What a row has behind the columns of the header is under None.
            if not {"epoch", "step"} <= row.keys() or None in row:
                raise ValueError(f"row {number} has no epoch and step, or more than its header")
            int(row["step"])  # It raises ValueError if this is no number.
    names = [*(reader.fieldnames or ())]
    return names, rows
