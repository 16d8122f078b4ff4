"""Rename the template word by word: package, distribution, titles."""

from __future__ import annotations

import ast
import re

OLD = "seqmodels"
WIDTH = 100
WORD = re.compile(  # also after an escape in a string, such as \n
    rf"(?:(?<![A-Za-z0-9])|(?<=\\[nt])){OLD}(?:-template)?(?![A-Za-z0-9])", re.IGNORECASE
)


def renamed(text: str, name: str) -> str:
    """The text with `name` for the template's own, in its case: also in `SEQMODELS_CACHE` and
    `tests/test_seqmodels.py`; `seqmodels-template`, the distribution, is `wind-forecast`."""

    def new(found: re.Match[str]) -> str:
        word = found[0]
        if "-" in word:
            return name.replace("_", "-")
        if word.isupper():
            return name.upper()
        return name.replace("_", " ").capitalize() if word[0].isupper() else name

    return WORD.sub(new, text)


def wrapped(source: str) -> str:
    """Python source whose comments and docstrings fit the width again, where a longer name has
    pushed them over it."""
    if all(len(line) <= WIDTH for line in source.splitlines()):
        return source
    in_docstring = _docstring_lines(source)
    lines: list[str] = []
    left = margin = ""  # what did not fit into the line above, and what to write before it
    for number, line in enumerate(source.splitlines(), start=1):
        body = line.lstrip(" ")
        indent = line[: len(line) - len(body)]
        hash_sign = "# " if body.startswith("# ") else ""
        is_text = hash_sign or number in in_docstring
        if left:
            if is_text and body and not re.match(r"- |\w[\w, ]*: |\w+:$|\"\"\"$", body):
                line = f"{indent}{hash_sign}{left} {body.removeprefix(hash_sign)}"
            else:
                lines.append(f"{margin}{left}")
            left = ""
        if is_text and len(line) > WIDTH:
            cut = line.rfind(" ", len(indent) + len(hash_sign), WIDTH + 1)
            if cut > len(indent):
                line, left, margin = line[:cut], line[cut + 1 :], indent + hash_sign
        lines.append(line)
    if left:
        lines.append(f"{margin}{left}")
    return "\n".join(lines) + "\n" if lines else ""


def _docstring_lines(source: str) -> set[int]:
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
