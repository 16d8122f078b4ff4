"""Resume a run from its folder: its own configuration, with your changes on top."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from seqmodels.errors import UserError
from seqmodels.plain_values import change, flattened
from seqmodels.plugins import trusted_classes
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.folder import SETTLED, RunFolder
from seqmodels.runs.trust import OURS, is_trusted_callback, trusted_config

log = logging.getLogger(__name__)

# keys that identify a run; a resume may change all others
IDENTITY = (
    "seed.",
    "data.",
    "model._target_.",
    "model.head.",
    "model.head_options.",
    "model.encoder.",
    "model.embedding.",
)
FREE = ("data.num_workers", "model.embedding.dropout", "model.embedding.noise")  # within these
ENDS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
EARLY = "callbacks.early_stopping"
# keys that the run folder has values for, too
ON_TOP = ("trainer.", "model.", "callbacks.", "baseline", "task_name", "tags", *FREE)


def resumed_config(
    config: DictConfig, given: Mapping[str, Any] | None = None
) -> tuple[DictConfig, dict[str, tuple[Any, Any]]]:
    """The configuration to resume `config.resume` with, and what it changes in the run's own.

    Model, data and seed are the run folder's, and so are the plain values of trainer and callbacks.
    Loggers, `imports` and `allowed_targets` are never taken from a folder.

    Args:
        config: as it was composed; its `resume` is a run folder.
        given: the values that the command line gives, by dotted key, and `~key` for what it
            removes; None: all of `config`.

    Returns:
        The configuration, and `{key: (value in the folder, value now)}`.

    Raises:
        UserError: if a change would make it another run.
    """
    folder = RunFolder(Path(config.resume))
    folder.check_contained()
    saved = trusted_config(folder, trusted_classes(config))
    result: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    # resolved later, with what comes from the folder
    result["logger"] = OmegaConf.to_container(config, resolve=False)["logger"]  # type: ignore[index, call-overload]
    own, composed = flattened(saved), flattened(result)
    given = composed if given is None else _with_classes(given, own, composed)
    changes: dict[str, tuple[Any, Any]] = {}
    for key, value in given.items():
        name = key.removeprefix("~")
        before = own.get(name)
        if before is None and any(other.startswith(f"{name}.") for other in own):
            before = "a group"  # that null leaves out
        if before == value or (name == SETTLED and value == "auto"):
            continue
        if name not in FREE and f"{name}.".startswith(IDENTITY):
            raise UserError(
                f"resume={config.resume}: {name} is {before} in this run, and {value} "
                "would make it another one: leave it out, or start a new run without resume"
            )
        if name.startswith(ON_TOP) and not name.endswith(".dirpath"):
            changes[key] = (before, value)
    result["folder"] = str(folder.path)
    for name in (saved.get("logger") or {}).keys() - (result["logger"] or {}).keys():
        log.warning(f"logger.{name} is not taken from the run folder: add logger={name}")
    for key in ("seed", "data", "model", "baseline", "task_name", "tags"):
        result[key] = deepcopy(saved.get(key, result.get(key)))
    trainer = saved.get("trainer", {})
    result["trainer"] |= {k: v for k, v in trainer.items() if k != "_target_"}
    result["callbacks"] = _callbacks(saved.get("callbacks", {}), result["callbacks"], folder.path)
    change(result, {key: value for key, (_, value) in changes.items()})
    followed = _following(config, saved, result, given)
    change(result, {key: value for key, (_, value) in followed.items()})
    return OmegaConf.create(result), changes | followed


def _following(
    config: DictConfig, saved: Mapping[str, Any], result: Mapping[str, Any], given: Iterable[str]
) -> dict[str, tuple[Any, Any]]:
    """The values that follow a changed one, as `max_lr: ${model.optimizer.lr}` does, if they did so
    in the folder: a schedule of another class, or a value set by hand, stays as it is."""
    written: Any = flattened(OmegaConf.to_container(config, resolve=False))
    own = flattened(saved)
    found = {}
    for key in written.keys() & own.keys() - {*given}:
        if key.startswith(ON_TOP) and not key.endswith(".dirpath") and "${" in str(written[key]):
            before, now = _resolved(written[key], saved), _resolved(written[key], result)
            if before == own[key] != now:
                found[key] = (before, now)
    return found


def _resolved(text: str, config: Mapping[str, Any]) -> Any:
    """What a text with `${key}` stands for in a configuration; None if it lacks the key."""
    try:
        return OmegaConf.create({**config, "resolved": text})["resolved"]
    except InterpolationResolutionError:
        return None


def _with_classes(
    given: Mapping[str, Any], own: Mapping[str, Any], composed: Mapping[str, Any]
) -> dict[str, Any]:
    """`given`, and all arguments of each class that it changes: the run's are another class's."""
    whole = dict(given)
    for key, value in given.items():
        if key.endswith("._target_") and own.get(key) not in (None, value):
            group = key.removesuffix("_target_")
            whole |= {k: v for k, v in composed.items() if k.startswith(group)}
            unknown = [k for k in own if k.startswith(group) and k not in composed]
            whole |= dict.fromkeys(f"~{k}" for k in unknown)
    return whole


def words_to_repeat(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The words of a command line that no run folder gives, so that each resume needs them."""
    callbacks = {n: str(c.get("_target_")) for n, c in (config.callbacks or {}).items() if c}
    foreign = (f"callbacks.{name}" for name, it in callbacks.items() if not it.startswith(OURS))
    keys = ("imports", "allowed_targets", "logger", *foreign)
    return [w for w in overrides if re.match(rf"\+*({'|'.join(map(re.escape, keys))})[.=]", w)]


def _callbacks(
    saved: Mapping[str, Any], composed: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """The folder's callbacks that are ours, writing to where the folder is now."""
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
    """The newest checkpoint that is whole, and its content: of the run, or the one that it began
    from; None if there is none yet.

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
    origin = folder.read_config().get("resume")
    if isinstance(origin, str) and origin.endswith(".ckpt"):
        return Path(origin), read_checkpoint(Path(origin))
    return None


def check_length(config: DictConfig, saved: Mapping[str, Any]) -> None:
    """Raises UserError if the training would end before its checkpoint."""
    for key, what in (("max_epochs", "epoch"), ("max_steps", "global_step")):
        end, reached = config.trainer.get(key), saved.get(what, 0)
        if end is not None and 0 <= end < reached:
            raise UserError(
                f"resume={config.resume}: trainer.{key}={end}, and its checkpoint is at {reached} "
                "already: set at least as many"
            )


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
