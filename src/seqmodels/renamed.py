"""Keys of a model that older configurations, run folders and checkpoints name differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED: dict[str, tuple[str, Any]] = {  # to its name of today, and the value that changes nothing
    "embedding_size": ("embedding.size", None),
    "embedding_dropout": ("embedding.dropout", None),
    "input_noise": ("embedding.noise", 0.0),
    "characters": ("embedding.characters", None),
    "character_options": ("embedding.character_options", None),
    "output": ("output.kind", None),  # of a tagger
    "constrained": ("output.constrained", False),
    "class_weights": ("output.class_weights", None),
    "label_smoothing": ("output.label_smoothing", 0.0),
    "tied": ("output.tied", False),
    "adversarial": ("training.adversarial", 0.0),
    "start": ("training.start", None),
    "start_lr": ("training.start_lr", None),
    "unfreeze": ("training.unfreeze", 0),
}


def name_of_today(key: str) -> str:
    """`model.embedding_size` -> `model.embedding.size`; a key that was not renamed, as it is."""
    name = key.removeprefix("model.")
    return f"model.{RENAMED[name][0]}" if key != name and name in RENAMED else key


def with_names_of_today(model: Mapping[str, Any], takes: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a task by their names of today.

    Args:
        model: some may have older names.
        takes: the schema of each argument that the class of the task has today.
    """
    made = dict(model)
    if "window" not in takes and made.get("window") is None:
        made.pop("window", None)  # which every task took, and most refused
    for old, (new, usual) in RENAMED.items():
        group, _, key = new.partition(".")
        is_group_now = isinstance(made.get(old), str) and "properties" in takes.get(old, ())
        if old not in made or (old in takes and not is_group_now):
            continue
        value = made.pop(old)
        if value != usual:
            made[group] = {**(made.get(group) or {}), key: value}
    return made
