"""The run folder: the names of its files, and all reading and writing of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from seqmodels.errors import UserError, one_line
from seqmodels.files import read_json, write_json

DATAFLOW = "dataflow.svg"
FIGURES = "figures"
METRICS = "metrics.csv"
RESULT = "result.json"


@dataclass(frozen=True)
class RunFolder:
    """One run on disk.

    `config.yaml` (resolved), `overrides.yaml`, `environment.json`, `metrics.csv`, `result.json`,
    `train.log`, `dataflow.svg`, `figures/` and `checkpoints/{best,last}.ckpt`. What is broken or
    absent is a `UserError` that names the file.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def result_file(self) -> Path:
        return self.path / RESULT

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / METRICS

    @property
    def figures(self) -> Path:
        return self.path / FIGURES

    def checkpoint_file(self, name: str) -> Path:
        """`best` or `last`."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    # the beginning of a run

    @rank_zero_only
    def write_beginning(
        self, config: DictConfig, overrides: Sequence[str], environment: dict[str, Any]
    ) -> None:
        """`config.yaml`, `overrides.yaml` and `environment.json`."""
        self.figures.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, self.config_file, resolve=True)
        OmegaConf.save(OmegaConf.create(list(overrides)), self.path / "overrides.yaml")
        write_json(self.environment_file, environment)

    def discard_if_unused(self) -> None:
        """Removes the folder of a run that never began: it holds nothing but an empty log."""
        if self.path.is_dir() and all(f.name.endswith(".log") for f in self.path.iterdir()):
            shutil.rmtree(self.path)

    def clear(self) -> None:
        """Removes what an interrupted run has left, but for its log, which may be open."""
        for left in self.path.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.suffix != ".log":
                left.unlink()

    # the result

    @rank_zero_only
    def write_result(self, result: dict[str, Any]) -> None:
        write_json(self.result_file, result)

    def read_result(self) -> dict[str, Any]:
        """What `result.json` holds.

        Raises:
            UserError: if there is none, or it is not the result of a run.
        """
        result = read_json(self.result_file)
        if not isinstance(result, dict) or "status" not in result:
            raise UserError(f"{self.result_file} is not the result of a run: it has no status")
        return result

    def status(self) -> str | None:
        """`completed`, `failed` or `interrupted`; None where no run has begun, or its result is
        being written."""
        try:
            return str(self.read_result()["status"])
        except UserError:
            return None

    @contextmanager
    def recording(self, result: dict[str, Any]) -> Iterator[None]:
        """Writes `result` at the end, with `status` and `error`, whatever the end is: completed,
        failed or interrupted."""
        result |= {"status": "interrupted", "error": None}
        self.write_result(result)  # what is left if the process is killed
        try:
            yield
            result["status"] = "completed"
        except MisconfigurationException as error:  # Lightning's word for a mistake in trainer.*
            result |= {"status": "failed", "error": one_line(error)}
            raise UserError(f"trainer: {one_line(error)}") from error
        except Exception as error:
            result |= {"status": "failed", "error": f"{type(error).__name__}: {one_line(error)}"}
            raise
        finally:
            self.write_result(result)

    # going back to a run

    def read_config(self) -> DictConfig:
        """What `config.yaml` holds.

        Raises:
            UserError: if this is not a run folder.
        """
        if not self.config_file.is_file():
            raise UserError(f"run={self.path} is not a run folder: it has no config.yaml")
        try:
            config = OmegaConf.load(self.config_file)
        except Exception as error:  # the parser raises several kinds
            raise UserError(f"{self.config_file} is not YAML: {one_line(error)}") from error
        if not isinstance(config, DictConfig):
            raise UserError(f"{self.config_file} is not the configuration of a run")
        return config

    def read_environment(self) -> dict[str, Any]:
        """What `environment.json` holds; nothing for a run that failed before it was written."""
        return read_json(self.environment_file) if self.environment_file.is_file() else {}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU, loaded without running code from it.

    Raises:
        UserError: if it is absent, broken, or holds more than plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if "state_dict" not in content or "hyper_parameters" not in content:
            raise ValueError("it holds no state_dict and hyper_parameters")
    except Exception as error:  # torch raises many kinds on a broken file
        raise UserError(
            f"{path} is not a usable checkpoint ({one_line(error)}); "
            "it may be cut off: take another one, such as last.ckpt beside best.ckpt"
        ) from error
    return content
