"""Find the model that you name on the command line, and make inputs for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.isolation import find_modules
from seqmodels.errors import UserError, choices, one_line
from seqmodels.padding import valid_steps
from seqmodels.plugins import import_module


def find_model(target: str) -> Callable[..., Any]:
    """The model that `module:name` names.

    If the name is a class or function that takes no arguments, calls it to build the model. This
    imports and runs code of that module: name only what you trust.

    Raises:
        UserError: if there is no such model, or building it fails.
    """
    module_name, colon, name = target.partition(":")
    if not colon or not name:
        raise UserError(f"target={target} must be module:name, such as my_package.module:build")
    module = import_module(module_name, f"target={target}")
    found = getattr(module, name, None)
    if found is None:
        raise UserError(
            f"target={target}: no such name in {module_name}: {choices(name, dir(module))}"
        )
    built = found
    if not isinstance(found, nn.Module) and _takes_nothing(found):
        try:
            built = found()
        except Exception as error:
            what = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"target={target}(): {what}") from error
    if inspect.isclass(built) or not callable(built):
        raise UserError(
            f"target={target} is not a model, and does not build one when called without "
            "arguments: name a function that builds it"
        )
    return built


def _takes_nothing(found: Any) -> bool:
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):
        return False
    return True


def sizes_of(model: Callable[..., Any]) -> dict[str, int]:
    """The vocabulary or the number of features that the model's first layer takes, if it says."""
    sizes = {"num_embeddings": "vocabulary"}
    sizes |= dict.fromkeys(("input_size", "in_features", "in_channels"), "features")
    parts = (part for module in find_modules(model) for part in module.modules())
    said = ((name, getattr(part, key, None)) for part in parts for key, name in sizes.items())
    return next(({name: size} for name, size in said if isinstance(size, int)), {})


def random_batch(
    features: int | None = None,
    vocabulary: int | None = None,
    batch: int = 4,
    time: int = 20,
    seed: int = 0,
    padding: int | float | str = 0,
) -> tuple[Tensor, Tensor]:
    """Random features `(B, T, F)`, or tokens `(B, T)` from 1 to `vocabulary - 1`, with `padding`
    after the end; and their lengths `(B,)`, from `time` down to a quarter of it. Where padding is
    "front", it stands before the content; where it is "none", all lengths are `time`.

    Raises:
        UserError: for both or neither of `features` and `vocabulary`, a size that is too small, or
            padding that is not a token.
    """
    if (features is None) == (vocabulary is None):
        raise UserError("give one of input.features=<number> and input.vocabulary=<number>")
    sizes = {"features": features, "vocabulary": vocabulary, "batch": batch, "time": time}
    for name, size in sizes.items():
        least = 2 if name == "vocabulary" else 1
        if size is not None and size < least:
            raise UserError(f"input.{name} is {size}: it must be at least {least}")
    held = 0 if isinstance(padding, str) else padding
    if vocabulary is not None and held not in range(vocabulary):
        raise UserError(f"padding={padding} is not a token from 0 to {vocabulary - 1}")
    generator = torch.Generator().manual_seed(seed)
    least = time if padding == "none" else max(time // 4, 1)
    lengths = torch.linspace(time, least, batch).round().long()
    mask = valid_steps(lengths, time)
    if vocabulary is not None:
        inputs = torch.randint(1, vocabulary, (batch, time), generator=generator)
    else:
        assert features is not None
        inputs = torch.randn(batch, time, features, generator=generator)
    inputs[~(mask.flip(1) if padding == "front" else mask)] = held
    return inputs, lengths
