"""Find the model that you name on the command line, and make inputs for it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.isolation import find_modules
from seqmodels.errors import UserError, choices, unusable
from seqmodels.padding import valid_steps
from seqmodels.plugins import import_module


def find_model(target: str) -> Callable[..., Any]:
    """The model that `module:name` or `path/to/file.py:name` names.

    If the name is a class or function that takes no arguments, calls it to build the model. This
    imports and runs code of that module: name only what you trust.

    Raises:
        UserError: if there is no such model, or building it fails.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not name:
        raise UserError(f"target={target} must be module:name or file.py:name")
    module_name = _as_module(Path(place).resolve()) if place.endswith(".py") else place
    module = import_module(module_name, f"target={target}")
    found = getattr(module, name, None)
    if found is None:
        names = [each for each, it in vars(module).items() if callable(it) and each[0] != "_"]
        raise UserError(f"target={target}: no such name in {place}: {choices(name, names)}")
    if not isinstance(found, nn.Module) and _takes_nothing(found):
        with unusable(f"target={target}() fails"):
            found = found()
    if inspect.isclass(found) or not callable(found):
        raise UserError(
            f"target={target} is no model: name one, or what builds it without arguments"
        )
    return found


def _as_module(path: Path) -> str:
    """The name by which to import a file, from the folder that holds its package."""
    folder = next(parent for parent in path.parents if not (parent / "__init__.py").exists())
    sys.path[:0] = [str(folder), ""]  # before the current folder, which may hold the same name
    name = ".".join(path.relative_to(folder).with_suffix("").parts)
    if getattr(sys.modules.get(name), "__file__", None) != str(path):
        sys.modules.pop(name, None)
    return name


def _takes_nothing(found: Any) -> bool:
    with suppress(TypeError, ValueError):
        inspect.signature(found).bind()
        return True
    return False


def _first_size(model: Callable[..., Any]) -> tuple[int | None, int | None]:
    """The number of features, or the vocabulary, that the model's first layer takes, if it says."""
    for part in find_modules(model).modules():
        for name in ("num_embeddings", "input_size", "in_features", "in_channels"):
            if isinstance(size := getattr(part, name, None), int):
                return (None, size) if name == "num_embeddings" else (size, None)
    return None, None


def random_batch(
    model: Callable[..., Any],
    features: int | None = None,
    vocabulary: int | None = None,
    batch: int = 4,
    time: int = 20,
    seed: int = 0,
    padding: int | float | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Random features `(B, T, F)`, or tokens `(B, T)` from 1 to `vocabulary - 1`, with `padding`
    after the end, or 0; and their lengths `(B,)`, from `time` down to a quarter of it, or all
    `time` where padding is "none". The model's first layer says how many features or tokens, unless
    you do.

    Raises:
        UserError: if neither of you does, or you say both, or a size that is too small, or padding
            that is not a token.
    """
    if features is None and vocabulary is None:
        features, vocabulary = _first_size(model)
    if (features is None) == (vocabulary is None):
        raise UserError("give one of input.features=<number> and input.vocabulary=<number>")
    least = {"features": 1, "vocabulary": 2, "batch": 1, "time": 1}
    for name, size in zip(least, (features, vocabulary, batch, time), strict=True):
        if size is not None and size < least[name]:
            raise UserError(f"input.{name} is {size}: it must be at least {least[name]}")
    held = 0 if isinstance(padding, str) else padding or 0
    if vocabulary is not None and held not in range(vocabulary):
        raise UserError(f"padding={padding} is not a token from 0 to {vocabulary - 1}")
    generator = torch.Generator().manual_seed(seed)
    shortest = time if padding == "none" else max(time // 4, 1)
    lengths = torch.linspace(time, shortest, batch).round().long()
    if vocabulary is not None:
        inputs = torch.randint(1, vocabulary, (batch, time), generator=generator)
    else:
        assert features is not None
        inputs = torch.randn(batch, time, features, generator=generator)
    inputs[~valid_steps(lengths, time)] = held
    return inputs, lengths
