"""Find mistakes with recurrent networks in source code, without running it: by its syntax tree.

The linter follows what `nn.LSTM`, `nn.GRU` and `nn.RNN` return through the statements of a
function, which may find the network around it. It knows what a file says: an option is a constant,
or a name that has one value, or one by default. Where the file doesn't say it, it stays silent.
"""

from __future__ import annotations

import re
from pathlib import Path

from seqmodels.errors import UserError
from seqmodels.lint.rules import Check, Finding

__all__ = ["Finding", "lint"]


def lint(path: Path) -> list[Finding]:
    """The mistakes in a file, in the order of its lines.

    A line is silenced by `# noqa`, or by `# noqa: RNN001` from one rule.

    Raises:
        UserError: for a file that is not Python, or cannot be read.
    """
    try:
        # Python takes a byte order mark, too.
        text = path.read_text(encoding="utf-8-sig")
        findings = Check(path, text).findings
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno} is not Python: {error.msg}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error

    # A form feed ends no line for Python, but it does for str.splitlines.
    lines = text.split("\n")
    reported_findings = []
    for line_number, code in sorted(findings):
        if not _is_silenced(lines[line_number - 1], code):
            reported_findings.append(findings[line_number, code])
    return reported_findings


def _is_silenced(line: str, code: str) -> bool:
    comment = re.search(r"#\s*noqa(?::\s*([A-Z0-9, ]+))?", line)
    if comment is None:
        return False
    silenced_codes = comment[1]
    if silenced_codes is None:
        return True
    return code in re.split(r"[,\s]+", silenced_codes)
