"""Find mistakes with recurrent networks in source code, without running it.

python scripts/lint.py my_package train.py
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seqmodels.errors import UserError
from seqmodels.launch.readable_errors import readable_errors
from seqmodels.lint import lint


@readable_errors()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, help="Python files, and folders of them")
    found = [
        each for path in parser.parse_args().paths for file in _files(path) for each in lint(file)
    ]
    for mistake in found:
        print(mistake)
    sys.exit(1 if found else 0)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(f"{path} does not exist: name Python files, or folders of them")
    hidden = (".", "__pycache__")
    inside = (
        p
        for p in sorted(path.rglob("*.py"))
        if not any(x.startswith(hidden) for x in p.relative_to(path).parts)
    )
    return list(inside) if path.is_dir() else [path]


if __name__ == "__main__":
    main()
