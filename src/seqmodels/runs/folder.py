"""The run folder: what a run leaves behind, whatever happens to it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from seqmodels.errors import UserError, one_line
from seqmodels.files import write_json

PACKAGES = ("torch", "lightning", "torchmetrics", "hydra-core", "sktime", "datasets", "tokenizers")


def environment(device: str) -> dict[str, Any]:
    """Where a run happened: git commit and whether dirty, versions, device."""
    return {
        "git": _git(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "device": device,
        "threads": torch.get_num_threads(),
    }


def _git() -> dict[str, Any] | None:
    # of the project that is run, which is where this file's checkout is; None outside of one
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


@rank_zero_only
def write_inputs(folder: Path, config: DictConfig, overrides: Sequence[str], device: str) -> None:
    """`config.yaml` (resolved), `overrides.yaml` and `environment.json`."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    OmegaConf.save(OmegaConf.create(list(overrides)), folder / "overrides.yaml")
    write_json(folder / "environment.json", environment(device))


_write_json = rank_zero_only(write_json)


@contextmanager
def recording(folder: Path, result: dict[str, Any]) -> Iterator[None]:
    """Writes `result` to `folder/result.json` at the end, with `status` and `error`, whatever the
    end is: completed, failed or interrupted."""
    result |= {"status": "interrupted", "error": None}
    _write_json(folder / "result.json", result)  # what is left if the process is killed
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
        _write_json(folder / "result.json", result)


def discard_if_unused(folder: Path) -> None:
    """Removes the folder of a run that never began, which holds nothing but an empty log."""
    if folder.is_dir() and all(f.name.endswith(".log") for f in folder.iterdir()):
        shutil.rmtree(folder)


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
