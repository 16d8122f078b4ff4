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
    files, mistakes, broken = 0, 0, 0
    for file in (file for place in places for file in _files(Path(place))):
        try:
            for mistake in lint(file):
                print(mistake)
                mistakes += 1
            files += 1
        except UserError as error:  # the others are still looked at
            print(f"error: {error}", file=sys.stderr)
            broken += 1
    print(f"{files} file{'s' * (files != 1)}, {mistakes} finding{'s' * (mistakes != 1)}")
    sys.exit(2 if broken else 1 if mistakes else 0)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(f"{path} does not exist: name Python files, or folders of them")
    if not path.is_dir():
        return [path]
    inside = ((file, file.relative_to(path).parts) for file in sorted(path.rglob("*.py")))
    hidden = (".", "__pycache__")
    return [file for file, parts in inside if not any(p.startswith(hidden) for p in parts)]
