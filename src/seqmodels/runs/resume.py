"""Resume a run from its folder: its own configuration, with your changes on top."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqmodels.errors import UserError
from seqmodels.files import flattened
from seqmodels.imports import trusted
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.trust import is_trusted_callback, trusted_config

log = logging.getLogger(__name__)

# what makes a run this run and no other; all else may change when it is resumed
IDENTITY = (
    "seed",
    "data",
    "model._target_",
    "model.head",
    "model.head_options",
    "model.encoder",
    "model.embedding_size",
    "model.embedding",
    "model.characters",
    "model.character_options",
)
FREE = ("data.num_workers",)
ENDS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
EARLY = "callbacks.early_stopping"
# of which the folder has values too
ON_TOP = ("trainer.", "model.", "callbacks.", "baseline", "task_name", "tags", *FREE)


def resumed_config(
    config: DictConfig, given: Mapping[str, Any] | None = None
) -> tuple[DictConfig, dict[str, tuple[Any, Any]]]:
    """The configuration to resume `config.resume` with, and what it changes in the run's own.

    Model, data and seed are the run folder's, and so are the plain values of trainer and callbacks.
    Loggers, `imports` and `allowed_targets` are never taken from a folder.

    Args:
        config: as it was composed; its `resume` is a run folder.
        given: the values that the command line gives, by dotted key; None: all of `config`.

    Returns:
        The configuration, and `{key: (value in the folder, value now)}`.

    Raises:
        UserError: if a change would make it another run.
    """
    folder = RunFolder(Path(config.resume))
    folder.check_contained()
    saved = trusted_config(folder, trusted(config))
    result = OmegaConf.to_container(config, resolve=True)
    assert isinstance(result, dict)
    # resolved later, with what comes from the folder
    result["logger"] = OmegaConf.to_container(config, resolve=False)["logger"]  # type: ignore[index, call-overload]
    given = flattened(result) if given is None else given
    own = flattened(saved)
    changes: dict[str, tuple[Any, Any]] = {}
    for key, value in given.items():
        before = own.get(key)
        if before is None and any(name.startswith(f"{key}.") for name in own):
            before = "a group"  # that null leaves out
        if _is_identity(key):
            if before != value:
                raise UserError(
                    f"resume={config.resume}: {key} is {before} in this run, and {value} "
                    "would make it another one: leave it out, or start a new run without resume"
                )
        elif key.startswith(ON_TOP) and not key.endswith(".dirpath") and before != value:
            changes[key] = (before, value)
    result["folder"] = str(folder.path)
    for name in (saved.get("logger") or {}).keys() - (result["logger"] or {}).keys():
        log.warning(f"logger.{name} is not taken from the run folder: add logger={name}")
    for key in ("seed", "data", "model", "baseline", "task_name", "tags"):
        result[key] = deepcopy(saved.get(key, result.get(key)))
    trainer = saved.get("trainer", {})
    result["trainer"] |= {k: v for k, v in trainer.items() if k != "_target_"}
    result["callbacks"] = _callbacks(saved.get("callbacks", {}), result["callbacks"], folder.path)
    resumed = OmegaConf.create(result)
    for key, (_, value) in changes.items():
        OmegaConf.update(resumed, key, value, force_add=True)
    return resumed, changes


def _callbacks(
    saved: Mapping[str, Any], composed: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """The folder's callbacks, as far as they are ours, writing to where the folder lies now."""
    chosen: dict[str, Any] = {}
    for name, entry in saved.items():
        if entry is None or is_trusted_callback(name, entry):
            chosen[name] = deepcopy(entry)
        elif name in composed:
            chosen[name] = deepcopy(composed[name])
        else:
            log.warning(f"callbacks.{name} is not taken from the run folder: give it again")
    for name in ("checkpoint", "last"):
        chosen.setdefault(name, deepcopy(composed.get(name)))
    for entry in chosen.values():
        if entry and "dirpath" in entry:
            entry["dirpath"] = str(folder / "checkpoints")
    return chosen


def checkpoint_to_resume(folder: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole, and its content; None if the run has saved none yet.

    Raises:
        UserError: if there are some, and all are broken.
    """
    problem: UserError | None = None
    for name in ("last", "previous"):
        path = folder.checkpoint_file(name)
        if not path.is_file():
            continue
        try:
            content = read_checkpoint(path)
        except UserError as error:
            problem = problem or error
            continue
        if problem is not None:
            log.warning(f"{problem}; resuming from {path.name}, the one before it")
        return path, content
    if problem is not None:
        raise problem
    return None


def check_unfinished(folder: RunFolder, config: DictConfig) -> None:
    """Raises UserError for a finished run that is not asked to train longer."""
    result = folder.result_if_any()
    if result.get("status") != "completed":
        return
    before, now = flattened(result["config"]), flattened(config)
    if any(now.get(end) != before.get(end) for end in (*ENDS, f"{EARLY}.patience")):
        return
    limits = {end: before[end] for end in ENDS if before.get(end) not in (None, -1)}
    longer = " or ".join(f"{end} to more than {limit}" for end, limit in limits.items())
    if f"{EARLY}.patience" in before:  # a callback that is not composed without its file
        longer += (
            f"; if early stopping ended it, +callbacks=early_stopping {EARLY}.monitor="
            f"{before[f'{EARLY}.monitor']} and {EARLY}.patience to more than "
            f"{before[f'{EARLY}.patience']}"
        )
    raise UserError(f"resume={folder.path}: this run is finished; to train longer, set {longer}")


def _is_identity(key: str) -> bool:
    return key not in FREE and any(key == name or key.startswith(f"{name}.") for name in IDENTITY)
