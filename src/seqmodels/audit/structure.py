"""Walk through what models take and return: mappings, tuples, lists and objects, nested."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def children(part: Any) -> dict[Any, Any]:
    """The parts of a structure by key, number or name; none of a value."""
    if isinstance(part, Mapping):
        return dict(part)
    if isinstance(part, tuple | list) and not isinstance(part, PackedSequence):
        return {} if all(isinstance(value, int) for value in part) else dict(enumerate(part))
    if isinstance(part, Tensor | nn.Module | type) or callable(part):
        return {}
    return getattr(part, "__dict__", {})


def leaves(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The values in a structure, each with its path."""
    inside = children(part)
    if not inside:
        yield path, part
    for key, child in inside.items():
        yield from leaves(child, (*path, key))


def mapped(part: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of the structure with each value changed."""
    inside = children(part)
    if not inside:
        return change(part)
    changed = {key: mapped(child, change) for key, child in inside.items()}
    if isinstance(part, Mapping):
        return changed
    if isinstance(part, tuple | list):
        named = hasattr(part, "_fields")
        return type(part)(*changed.values()) if named else type(part)(changed.values())
    copied = copy.copy(part)
    vars(copied).update(changed)
    return copied


def tensors_in(part: Any) -> list[Tensor]:
    """The tensors of a state, however they are nested."""
    return [value for _, value in leaves(part) if isinstance(value, Tensor)]
