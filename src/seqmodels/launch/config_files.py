"""Where `configs/` is: the one that comes with the package, and your own."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# a wheel has it in the package, a checkout at the root
SHIPPED = next(p for p in (PACKAGE / "configs", PACKAGE.parents[1] / "configs") if p.is_dir())


def config_folders() -> list[Path]:
    """`configs/` in the current directory, if there is one, and the shipped one, in this order."""
    own = Path.cwd() / "configs"
    return [own, SHIPPED] if own.is_dir() and own.resolve() != SHIPPED else [SHIPPED]
