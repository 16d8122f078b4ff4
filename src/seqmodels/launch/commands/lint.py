from __future__ import annotations

import sys
from pathlib import Path

from seqmodels.errors import UserError
from seqmodels.launch.command_line import command


@command
def main(*places: str) -> None:
    """Find mistakes with recurrent networks in source code, without running it.

    python scripts/lint.py my_package train.py
    """
    from seqmodels.lint import lint

    if not places:
        raise UserError("name Python files, or folders of them: python scripts/lint.py my_package")
    file_count = 0
    finding_count = 0
    has_unreadable_files = False
    for place in places:
        for file in _files(Path(place)):
            try:
                for finding in lint(file):
                    print(finding)
                    finding_count += 1
                file_count += 1
            except UserError as error:  # The other files are still looked at.
                print(f"error: {error}", file=sys.stderr)
                has_unreadable_files = True
    print(f"{_counted(file_count, 'file')}, {_counted(finding_count, 'finding')}")
    if has_unreadable_files:
        sys.exit(2)
    sys.exit(1 if finding_count else 0)


def _counted(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _files(path: Path) -> list[Path]:
    """A file itself; of a folder, the Python files in it that are not hidden."""
    if not path.exists():
        raise UserError(f"{path} does not exist: name Python files, or folders of them")
    if not path.is_dir():
        return [path]
    files = []
    for file in sorted(path.rglob("*.py")):
        names = file.relative_to(path).parts
        is_hidden = any(name.startswith((".", "__pycache__")) for name in names)
        if not is_hidden:
            files.append(file)
    return files
