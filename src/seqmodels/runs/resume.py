"""Resume a run from its folder: its own configuration, with your `key=value` words on top."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from seqmodels.errors import UserError
from seqmodels.plain_values import change, flattened, resolved
from seqmodels.plugins import trusted_classes
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.trust import YOURS, trusted_config

log = logging.getLogger(__name__)

ENDS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
PATIENCE = "callbacks.early_stopping.patience"
# A resume may change what is in these groups of the run's own configuration. Other changes would
# make it another run.
GROUPS = ("trainer.", "callbacks.", "model.optimizer.", "model.scheduler.")
PLANNED = (
    *ENDS,
    "model.optimizer.",
    "model.scheduler.",
)  # Optimiser and scheduler depend on these.


@dataclass(frozen=True)
class Resume:
    """A run to resume.

    Args:
        checkpoint: None if there is none yet; `saved` is its content.
        changes: what is changed in the run's own configuration, by dotted key.
        replanned: the keys of them on which optimiser and scheduler depend, and which the
            checkpoint was not trained with.
        notes: to show.
    """

    config: DictConfig
    checkpoint: Path | None
    saved: Mapping[str, Any]
    changes: Mapping[str, Any]
    replanned: Sequence[str]
    notes: Sequence[str]

    @property
    def step(self) -> int:
        """The step of the checkpoint."""
        return int(self.saved.get("global_step", 0))


def find_resume(config: DictConfig, words: Sequence[str]) -> Resume:
    """What `config.resume` is resumed with and from, `config` as it was composed with these words.
    Loggers, `imports` and `allowed_targets` are `config`'s. Raises UserError if a change would make
    it another run, if it is finished, or if all of its checkpoints are broken."""
    folder = RunFolder(Path(config.resume))
    folder.check_links()
    trusted = trusted_classes(config.imports, config.allowed_targets)
    config_of_folder = trusted_config(folder, trusted)
    saved_config = {**folder.read_config(), "folder": str(folder.path)}
    values_by_key = _values_to_change(words, saved_config, config.resume)
    values_before = {key: _value(saved_config, key) for key in values_by_key}
    config = _changed(config_of_folder, saved_config, config, values_by_key)
    plain = resolved(config)
    changes = {
        key: _value(plain, key)
        for key, before in values_before.items()
        if not _same(_value(plain, key), before)
    }
    checkpoint, content = checkpoint_to_resume(folder) or (None, {})
    check_end(folder, config, content)
    notes = [f"{key}: {values_before[key]} -> {now}" for key, now in changes.items()]
    if checkpoint is None:
        notes.append("the run has no checkpoint yet: it starts again from the beginning")
        return Resume(config, None, content, changes, [], notes)
    if not folder.checkpoint_file("last").is_file():
        notes.append(f"{folder.path} has no last.ckpt: resuming from its {checkpoint.name}")
    # The checkpoint was trained without these changes.
    changed_keys = {*changes, *folder.changes_since(content.get("global_step", 0))}
    replanned = [key for key in changed_keys if key.startswith(PLANNED)]
    return Resume(config, checkpoint, content, changes, replanned, notes)


def _changed(
    config_of_folder: Mapping[str, Any],
    saved_config: Mapping[str, Any],
    config: DictConfig,
    values_by_key: Mapping[str, Any],
) -> DictConfig:
    """The trusted configuration of a run folder with these values, and with what no folder gives
    from the one that was composed. What was saved besides is left out, with a warning."""
    # It is resolved later, together with what comes from the folder.
    composed: Any = OmegaConf.to_container(config, resolve=False)
    for name in (saved_config.get("logger") or {}).keys() - (composed["logger"] or {}).keys():
        log.warning(f"logger.{name} is not taken from the run folder: add logger={name}")
    changed = {**config_of_folder, **{key: composed[key] for key in YOURS if key in composed}}
    target = composed["trainer"]["_target_"]
    changed["trainer"] = {**config_of_folder["trainer"], "_target_": target}
    callbacks: dict[str, Any] = {}
    for name in saved_config.get("callbacks") or {}:
        if name in config_of_folder["callbacks"]:
            callbacks[name] = config_of_folder["callbacks"][name]
        elif "_target_" in (composed["callbacks"].get(name) or {}):
            callbacks[name] = composed["callbacks"][name]
        else:
            log.warning(f"callbacks.{name} is not taken from the run folder: give it again")
    changed["callbacks"] = callbacks
    change(changed, values_by_key)
    return OmegaConf.create(changed)


def _values_to_change(
    words: Sequence[str], saved: Mapping[str, Any], resume: str
) -> dict[str, Any]:
    """The values of the words that may change a run, by dotted key."""
    values_by_key = {}
    for override in OverridesParser.create().parse_overrides([*words]):
        key = override.key_or_group
        value = override.value()
        if key.split(".")[0] in YOURS:
            continue
        changes_nothing = not override.is_delete() and _same(_value(saved, key), value)
        if changes_nothing:
            continue
        group, _, name = key.rpartition(".")
        is_in_group = key.startswith(GROUPS) and isinstance(_value(saved, group), Mapping)
        may_change = key == "tags" or (is_in_group and name not in ("_target_", "dirpath"))
        if override.is_delete() or not may_change:
            word = str(override.input_line).removeprefix("++")
            raise UserError(
                f"resume={resume}: leave out {word}, or start a new run: a resume changes no more "
                "than tags and values of trainer, callbacks, model.optimizer and model.scheduler"
            )
        values_by_key[key] = value
    return values_by_key


def _same(before: Any, now: Any) -> bool:
    """Whether a value stays as it was."""
    # A limit of 1 is a batch, and one of 1.0 is all of them.
    return before == now and type(before) is type(now)


def _value(config: Any, key: str) -> Any:
    """The value at a dotted key; None without it."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def checkpoint_to_resume(folder: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole, and its content; None if there is none yet. Raises
    UserError if there are some, and all are broken."""
    candidates = [folder.checkpoint_file(name) for name in ("last", "previous", "best")]
    paths = [path for path in candidates if path.is_file()]
    for number, path in enumerate(paths, 1):
        try:
            return path, read_checkpoint(path)
        except UserError as error:
            if number == len(paths):
                raise
            older_path = paths[number]
            log.warning(f"{error}; resuming from {older_path.name}")
    return None


def check_end(folder: RunFolder, config: DictConfig, saved: Mapping[str, Any]) -> None:
    """Raises UserError if the training would end before its checkpoint, or has ended already."""
    progress = _value(saved, "loops.fit_loop.epoch_progress.current.started") or 0
    for key, reached in (("max_epochs", progress), ("max_steps", saved.get("global_step", 0))):
        end = config.trainer.get(key)
        if end is not None and 0 <= end < reached:
            raise UserError(
                f"resume={folder.path}: trainer.{key}={end}, and its checkpoint is at {reached} "
                "already: set at least as many"
            )
    result = folder.result_if_any()
    if result and result.completed:
        values_before = flattened(result.config)
        values_now = flattened(config)
        keys = (*ENDS, PATIENCE)
        if all(values_now.get(key) == values_before.get(key) for key in keys):
            advice = []
            for key in keys:
                limit = values_before.get(key)
                if limit not in (None, -1):
                    advice.append(f"{key} to more than {limit}")
            raise UserError(
                f"resume={folder.path}: this run is finished; to train longer, set "
                f"{' or '.join(advice)}"
            )
