"""Where `configs/` is: the one that comes with the package, and your own."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# a wheel has it in the package, a checkout at the root
SHIPPED = next(p for p in (PACKAGE / "configs", PACKAGE.parents[1] / "configs") if p.is_dir())


def own_configs() -> Path | None:
    """`configs/` in the current directory, if there is one that is not the shipped one."""
    folder = Path.cwd() / "configs"
    return folder if folder.is_dir() and folder.resolve() != SHIPPED else None
