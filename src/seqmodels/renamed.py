"""Keys of a model that version 0.1 named differently, in run folders and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED: dict[str, tuple[str, Any]] = {  # to its name of today, and the value that changes nothing
    "embedding_size": ("embedding.size", None),
    "embedding_dropout": ("embedding.dropout", None),
    "input_noise": ("embedding.noise", 0.0),
    "class_weights": ("output.class_weights", None),
    "label_smoothing": ("output.label_smoothing", 0.0),
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
    for old, (new, usual) in RENAMED.items():
        if old in made and old not in takes:
            group, _, key = new.partition(".")
            value = made.pop(old)
            if value != usual:
                made[group] = {**(made.get(group) or {}), key: value}
    return made
