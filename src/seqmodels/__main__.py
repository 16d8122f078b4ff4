"""The command `seqmodels`: `seqmodels train ...` does what `python scripts/train.py ...` does."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path

from seqmodels.errors import choices
from seqmodels.installation import PACKAGE, version
from seqmodels.launch import commands

PREFIX = f"{commands.__name__}."
NAMES = [module.name for module in pkgutil.iter_modules(commands.__path__)]


def run(name: str) -> None:
    """Run a command. Ctrl-C ends it with a line, also while it is still importing."""
    try:
        importlib.import_module(PREFIX + name).main()
    except KeyboardInterrupt:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def main() -> None:
    name, *words = sys.argv[1:] or ["--help"]
    if name in NAMES:
        sys.argv[1:] = words
        # Lightning starts the other processes of a training by `python -m` and this name.
        sys.modules["__main__"].__spec__ = importlib.util.find_spec(PREFIX + name)
        run(name)
    elif name == "--version":
        print(f"{PACKAGE} {version()}")
    elif name in ("--help", "-h"):
        print(_help())
    else:
        print(f"error: unknown command {name}: {choices(name, NAMES)}", file=sys.stderr)
        sys.exit(2)


def _help() -> str:
    lines_of_commands = "\n".join(f"  {name:10}{_title(name)}" for name in NAMES)
    return (
        f"usage: {PACKAGE} <command> ...\n\n{lines_of_commands}\n\n"
        f"{PACKAGE} <command> --help shows what a command takes; {PACKAGE} --version the version."
    )


def _title(name: str) -> str:
    """The first line of the command's docstring; importing it could take seconds."""
    source = Path(commands.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return source.partition('"""')[2].partition("\n")[0].strip('"')


if __name__ == "__main__":
    main()
