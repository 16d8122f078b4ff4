"""Audit what you name, on the command line or with `pytest --audit`, on random inputs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from seqmodels.audit.auditing import audit, audit_onnx
from seqmodels.audit.findings import Audit
from seqmodels.audit.random_inputs import random_batch
from seqmodels.errors import UserError, choices, unusable
from seqmodels.plugins import import_module


def audit_named(
    target: str, sizes: Mapping[str, Any] | None = None, **options: Any
) -> tuple[Audit, Callable[..., Any] | str]:
    """The audit, and the model; for a file.onnx, its path.

    Args:
        target: as `find_model` takes it, or a file.onnx.
        sizes: of the inputs, as `random_batch` takes them.
        options: of `audit`.

    Raises:
        UserError: as all of these do.
    """
    if target.endswith(".onnx"):
        return audit_onnx(target, sizes=sizes, **options), target
    model = find_model(target)
    options_of_both = {name: options[name] for name in ("seed", "padding") if name in options}
    inputs, lengths = random_batch(model, **sizes or {}, **options_of_both)
    return audit(model, inputs, lengths, **options), model


def find_model(target: str) -> Callable[..., Any]:
    """The model that `module:name` or `path/to/file.py:name` names.

    If the name is a class or function that takes no arguments, calls it to build the model. This
    imports and runs code of that module: name only what you trust.

    Raises:
        UserError: if there is no such model, or building it fails.
    """
    module_or_file, colon, name = target.rpartition(":")
    if not colon or not name:
        raise UserError(f"target={target} must be module:name or file.py:name")
    if module_or_file.endswith(".py"):
        module_name = _as_module(Path(module_or_file).resolve())
    else:
        module_name = module_or_file
    module = import_module(module_name, f"target={target}")
    model = getattr(module, name, None)
    if model is None:
        names = [
            attribute
            for attribute, value in vars(module).items()
            if callable(value) and not attribute.startswith("_")
        ]
        raise UserError(
            f"target={target}: no such name in {module_or_file}: {choices(name, names)}"
        )
    if not isinstance(model, nn.Module) and _takes_no_arguments(model):
        with unusable(f"target={target}() fails"):
            model = model()
    if inspect.isclass(model) or not callable(model):
        raise UserError(
            f"target={target} is no model: name one, or what builds it without arguments"
        )
    return model


def _as_module(path: Path) -> str:
    """The name by which to import a file, from the folder that holds its package."""
    folder = next(parent for parent in path.parents if not (parent / "__init__.py").exists())
    # The folder goes before the current one, which may hold the same name.
    sys.path[:0] = [str(folder), ""]
    name = ".".join(path.relative_to(folder).with_suffix("").parts)
    if getattr(sys.modules.get(name), "__file__", None) != str(path):
        sys.modules.pop(name, None)
    return name


def _takes_no_arguments(function: Any) -> bool:
    with suppress(TypeError, ValueError):
        inspect.signature(function).bind()
        return True
    return False
