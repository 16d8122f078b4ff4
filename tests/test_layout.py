"""Who imports whom: downwards only, and nothing but the registry from a task's folder."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

SRC = ROOT / "src"
GROUND = {file.stem for file in (SRC / "seqmodels").glob("*.py")} - {"network"}
BELOW = {  # what each room stands on, besides the ground
    "audit": {"nn"},
    "data": {"nn"},
    "look": {"data"},
    "nn": set(),
    "heads": {"nn"},
    "network": {"heads", "nn"},
    "engine": {"network", "heads", "nn"},
    "callbacks": {"engine", "kernels"},
    "kernels": {"nn"},
    "tasks": {"engine", "network", "data", "heads", "nn"},
}


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def imports(at_the_top: bool = False) -> Iterator[tuple[str, str]]:
    """Each module of `src` with each that it imports, wherever in the file.

    Args:
        at_the_top: not in functions, but also what only a checker of types imports.
    """
    for file in sorted((SRC / "seqmodels").rglob("*.py")):
        name = name_of(file)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for_types = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in (*tree.body, *for_types) if at_the_top else {*ast.walk(tree)} - for_types:
            if "template" in file.parts:
                continue
            if isinstance(node, ast.Import):
                yield from ((name, each.name) for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from ((name, f"{node.module}.{each.name}") for each in node.names)


@cache  # not at import, which each process would do
def ours() -> list[tuple[str, str]]:
    return [(one, other) for one, other in imports() if other.startswith("seqmodels.")]


def room(module: str) -> str:
    """`engine`, or `tasks.tagging`; of a file on the ground, its name."""
    _, first, *rest = module.split(".")
    inside = (SRC / "seqmodels" / first / rest[0]) if rest else SRC / "none"
    return f"{first}.{rest[0]}" if first == "tasks" and inside.is_dir() else first


@cache
def pairs() -> set[tuple[str, str]]:
    return {(room(one), room(other)) for one, other in ours() if "." in one}


def test_nothing_imports_from_the_folder_of_a_task() -> None:
    folder = [(one, other) for one, other in ours() if room(other).startswith("tasks.")]
    assert len(folder) > 20  # its own files do
    assert [pair for pair in folder if room(pair[0]) != room(pair[1])] == []


def test_only_tests_of_a_task_import_from_its_folder() -> None:
    """Or they fail where you delete it: `tests.shipped.exported` skips. Classification stays."""
    tests = ROOT / "tests"
    others = [file for file in tests.rglob("*.py") if not file.is_relative_to(tests / "tasks")]
    deletable = re.compile(r"^(?:from|import) seqmodels\.tasks\.(?!classification\b)", re.MULTILINE)
    assert len(others) > 50
    assert [file.name for file in others if deletable.search(file.read_text("utf-8"))] == []


@pytest.mark.parametrize("name", BELOW)
def test_a_room_imports_only_what_is_below(name: str) -> None:
    own = {room for pair in pairs() for room in pair if room.partition(".")[0] == name}
    found = {other for one, other in pairs() if one in own} - own
    assert own and found <= BELOW[name] | GROUND


def test_no_room_imports_one_that_imports_it() -> None:
    graph: dict[str, set[str]] = {}
    for one, other in pairs():
        if one != other:
            graph.setdefault(one, set()).add(other)
    assert [*TopologicalSorter(graph).static_order()]  # raises CycleError, which names them


def test_no_module_imports_one_that_imports_it() -> None:
    """Nor in a function, nor only for its types: what needs each other's names is one module, or
    three."""
    modules = {name_of(file) for file in (SRC / "seqmodels").rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for one, other in (*imports(), *imports(at_the_top=True)):
        found = other if other in modules else other.rpartition(".")[0]
        if found in modules and found != one:
            graph.setdefault(one, set()).add(found)
    assert [*TopologicalSorter(graph).static_order()]  # raises CycleError, which names them


def test_the_ground_stands_on_the_ground() -> None:
    above = {"__main__", "pytest_plugin", "estimators"}  # which nothing imports
    stands = {pair for pair in pairs() if pair[0] in GROUND - above}
    assert stands and {other for _, other in stands} <= GROUND
    assert not {one for one, other in pairs() if other in above - {one}}
