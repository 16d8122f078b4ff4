"""Cut units out of the source of a Python file, and leave the rest as it was written."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from seqmodels.launch.forking.python_units import Display, Unit

WIDTH = 100
Edit = tuple[int, int, str]  # from, to (lines and columns as offsets), what to put there


def without_units(source: str, units: Sequence[Unit]) -> str:
    """The source without the units that are gone and the parts that are cut."""
    text = _Text(source)
    edits: list[Edit] = []
    imports = {id(unit.node): unit.node for unit in units if unit.alias}
    for node in imports.values():
        aliases = [unit for unit in units if unit.node is node]
        kept = [unit.alias for unit in aliases if unit.alias and not unit.gone]
        if len(kept) < len(aliases):
            edits.append(text.import_of(node, kept) if kept else text.statement(node))
    for unit in units:
        if unit.alias or (unit.owner and unit.owner.gone):
            continue
        edits += [text.statement(unit.node)] if unit.gone else text.parts(unit)
    for block in ast.parse(source).body:  # `if TYPE_CHECKING:` of imports that are all gone
        last = block.end_lineno or 0
        inside = [u for u in units if u.alias and block.lineno < u.node.lineno <= last]
        if isinstance(block, ast.If) and inside and all(unit.gone for unit in inside):
            edits.append(text.statement(block))
    return text.apply(edits)


class _Text:
    def __init__(self, source: str) -> None:
        self.source, self.lines = source, source.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    def offset(self, line: int, column: int) -> int:
        # the columns of `ast` count bytes
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self.offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self.offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def statement(self, node: ast.stmt) -> Edit:
        """Its lines, with the comments and the blank lines above."""
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
        while first and self.lines[first - 1].lstrip().startswith("#"):
            first -= 1
        while first and not self.lines[first - 1].strip():
            first -= 1
        return self.starts[first], self.starts[node.end_lineno or 0], ""

    def import_of(self, node: ast.stmt, kept: Sequence[ast.alias]) -> Edit:
        names = [f"{a.name} as {a.asname}" if a.asname else a.name for a in kept]
        module = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
        indent = " " * node.col_offset
        line = f"{module}import {', '.join(names)}"
        if len(indent + line) > WIDTH:
            inside = "".join(f"{indent}    {name},\n" for name in names)
            line = f"{module}import (\n{inside}{indent})"
        start, end = self.span(node)
        return start, end, line

    def parts(self, unit: Unit) -> Iterator[Edit]:
        for node in ast.walk(unit.node):
            if isinstance(node, ast.If) and node in unit.cut:
                yield self.statement(node)
            elif isinstance(node, Display):
                yield from self.elements(node, unit.cut)

    def elements(self, node: ast.AST, cut: set[ast.AST]) -> Iterator[Edit]:
        """Elements on lines of their own go with them; otherwise the display is rewritten."""
        if isinstance(node, ast.Dict):
            pairs = [(k or v, v) for k, v in zip(node.keys, node.values, strict=True)]
        else:
            pairs = [(element, element) for element in node.elts]  # type: ignore[attr-defined]
        kept = [pair for pair in pairs if pair[1] not in cut]
        if len(kept) == len(pairs):
            return
        starts = [first.lineno for first, _ in pairs]
        if kept and node.lineno < starts[0] and len(set(starts)) == len(starts):  # type: ignore[attr-defined]
            for first, last in pairs:
                if last in cut:
                    yield self._lines(first.lineno, last.end_lineno or 0)
            return
        start, end = self.span(node)
        texts = [self.source[self.span(first)[0] : self.span(last)[1]] for first, last in kept]
        opening, closing = self.source[start], self.source[end - 1]
        comma = "," if isinstance(node, ast.Tuple) and len(texts) == 1 else ""
        yield start, end, f"{opening}{', '.join(texts)}{comma}{closing}"

    def _lines(self, first: int, last: int) -> Edit:
        while self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
        return self.starts[first - 1], self.starts[last], ""

    def apply(self, edits: Sequence[Edit]) -> str:
        source, before = self.source, len(self.source) + 1
        outer: list[Edit] = []
        for edit in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
            if not outer or edit[0] >= outer[-1][1]:
                outer.append(edit)
        for start, end, new in reversed(outer):
            assert end <= before
            source, before = source[:start] + new + source[end:], start
        return source.lstrip("\n")
