"""The heads that modules define, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seqmodels.signatures.source import Source, find, sources_in


def heads_for(model: Mapping[str, Any], imports: str | Sequence[str] = ()) -> dict[str, str]:
    """The name of each head that a model may have, with the full name of its class.

    Args:
        model: names the class of the task, whose module may define heads too.
        imports: further modules.
    """
    modules = [imports] if isinstance(imports, str) else imports
    task = find(model["_target_"])
    own = [] if task is None else [task.source.name]
    return {
        name: path
        for module in ["seqmodels.heads", *own, *modules]
        for source in sources_in(module)
        for name, path in _defined_in(source)
    }


def _defined_in(source: Source) -> Iterator[tuple[str, str]]:
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef) and "Cell" not in map(_name, node.bases):
            for keyword in node.keywords:
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value), f"{source.name}.{node.name}"


def _name(base: ast.expr) -> str | None:
    return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", None)
