"""Find mistakes with recurrent networks in source code, without running it: by its syntax tree.

Follows what `nn.LSTM`, `nn.GRU` and `nn.RNN` return through the statements of a function, which may
find the network around it. It knows what a file says: an option is a constant, or a name that has
one value, or one by default. Where the file asks for it, or doesn't say, it stays silent.
"""

from __future__ import annotations

import re
from pathlib import Path

from seqmodels.errors import UserError
from seqmodels.lint.rules import Check, Finding

__all__ = ["Finding", "lint"]


def lint(path: Path) -> list[Finding]:
    """The mistakes in a file, in its order. Raises UserError for one that is not Python."""
    try:
        # Python takes a byte order mark, too.
        text = path.read_text(encoding="utf-8-sig")
        findings = Check(path, text).findings
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno} is not Python: {error.msg}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    # Python counts lines so: a form feed ends none.
    lines = text.split("\n")
    return [
        findings[line, code]
        for line, code in sorted(findings)
        if not _is_silenced(lines[line - 1], code)
    ]


def _is_silenced(line: str, code: str) -> bool:
    comment = re.search(r"#\s*noqa(?::\s*([A-Z0-9, ]+))?", line)
    if comment is None:
        return False
    return comment[1] is None or code in re.split(r"[,\s]+", comment[1])
