"""Audit what you name, on the command line or with `pytest --audit`, on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seqmodels.audit.auditing import audit, audit_onnx
from seqmodels.audit.find_model import find_model, random_batch
from seqmodels.audit.findings import Audit


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
    drawn = {name: options[name] for name in ("seed", "padding") if name in options}
    return audit(model, *random_batch(model, **sizes or {}, **drawn), **options), model
