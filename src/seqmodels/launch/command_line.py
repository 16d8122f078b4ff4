"""Turn a function of a configuration into a script."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqmodels.launch.readable_errors import FULL_ERROR, readable_errors
from seqmodels.launch.settings import read_settings
from seqmodels.visible import LogLines

Script = Callable[[], None]


def command(name: str, positional: str | None = None) -> Callable[[Callable[[Any], None]], Script]:
    """Make a script of a function, with `key=value` words over `configs/<name>.yaml`.

    The function receives the values as attributes: `config.input.features`. `--help` prints the
    docstring of the function's module and the YAML file with its comments.

    Args:
        name: of the file in `configs/`, beside the folder of the script.
        positional: the attribute that takes the words without a key, if the script takes any.
    """

    def decorate(function: Callable[[Any], None]) -> Script:
        @functools.wraps(function)
        def main() -> None:
            file = _configs(function) / f"{name}.yaml"
            words = sys.argv[1:]
            log_to_screen()
            with readable_errors():
                if "--help" in words or "-h" in words:
                    docstring = inspect.cleandoc(function.__globals__["__doc__"])
                    print(f"{docstring}\n\n{file.read_text()}", end="")
                else:
                    function(read_settings(file, words, positional))
                sys.stdout.flush()  # here, where a closed pipe is handled

        return main

    return decorate


def log_to_screen() -> None:
    """Shows warnings on standard error, as `configs/hydra/job_logging` does."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines("%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)


def composed(name: str) -> Callable[[Callable[[Any], None]], Script]:
    """Make a script of a function, with the configuration that Hydra composes from
    `configs/<name>.yaml`.

    Errors are made readable on both sides of Hydra: inside, because it would print its own words
    about ours before it passes them on, and outside for its own.
    """

    def decorate(function: Callable[[Any], None]) -> Script:
        @functools.wraps(function)
        def main() -> None:
            import hydra  # here, because most scripts start without it

            from seqmodels.launch.hydra_setup import ignore_launcher_warning, register_resolvers

            register_resolvers()
            ignore_launcher_warning()
            readable = readable_errors()
            run = hydra.main(
                version_base="1.3", config_path=str(_configs(function)), config_name=name
            )(readable(function))
            with readable, _errors_from_hydra():
                run()
                sys.stdout.flush()

        return main

    return decorate


@contextmanager
def _errors_from_hydra() -> Iterator[None]:
    """Have Hydra raise errors. Otherwise it prints them in its own words and exits."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before


def _configs(function: Callable[..., None]) -> Path:
    return Path(inspect.getfile(function)).resolve().parents[1] / "configs"
