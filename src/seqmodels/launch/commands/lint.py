"""Find mistakes with recurrent networks in source code, without running it.

python scripts/lint.py my_package train.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from seqmodels.errors import UserError
from seqmodels.launch.readable_errors import OneLine, readable_errors
from seqmodels.lint import lint


@readable_errors()
def main() -> None:
    parser = OneLine(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, help="Python files, and folders of them")
    paths = parser.parse_args().paths
    found = [mistake for path in paths for file in _files(path) for mistake in lint(file)]
    for mistake in found:
        print(mistake)
    sys.exit(1 if found else 0)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(f"{path} does not exist: name Python files, or folders of them")
    if not path.is_dir():
        return [path]
    inside = ((file, file.relative_to(path).parts) for file in sorted(path.rglob("*.py")))
    hidden = (".", "__pycache__")
    return [file for file, parts in inside if not any(p.startswith(hidden) for p in parts)]
