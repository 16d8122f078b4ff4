"""Turn a function of a configuration into a command."""

from __future__ import annotations

import atexit
import functools
import gc
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from seqmodels.errors import UserError
from seqmodels.installation import as_started
from seqmodels.launch.config_files import (
    SHIPPED,
    config_folders,
    keys_of,
    local_cache,
)
from seqmodels.launch.readable_errors import is_mistake, readable_errors
from seqmodels.launch.settings import read_settings
from seqmodels.screen import LogLines

if TYPE_CHECKING:
    from seqmodels.runs import Run

Script = Callable[[], None]


def command(name: str, positional: str | None = None) -> Callable[[Callable[[Any], None]], Script]:
    """Make a script of a function, with `key=value` words over a file in `configs/`.

    The function receives the values as attributes: `config.input.features`. `--help` prints the
    docstring of the function's module and the YAML file with its comments.

    Args:
        name: the file's name, such as `predict`.
        positional: the attribute that takes the words without a key, if the script takes any.
    """

    def decorate(function: Callable[[Any], None]) -> Script:
        @functools.wraps(function)
        def main() -> None:
            _open_streams()
            file = SHIPPED / f"{name}.yaml"
            words = sys.argv[1:]
            log_to_screen()
            with readable_errors():
                _check_words(words)
                if "--help" in words or "-h" in words:
                    docstring = inspect.cleandoc(sys.modules[function.__module__].__doc__ or "")
                    print(as_started(f"{docstring}\n\n{file.read_text()}"), end="")
                else:
                    folders = config_folders()
                    files = [folder / file.name for folder in reversed(folders)]
                    settings = read_settings(files, words, keys_of(name), positional)
                    from seqmodels.cache import use_cache  # here, because `train` starts without

                    use_cache(local_cache(folders))
                    function(settings)
                sys.stdout.flush()  # here, where a closed pipe is handled

        return main

    return decorate


def named_run(config: SimpleNamespace) -> Run:
    """Import the modules of a command line, and load its run.

    Args:
        config: the values of `RunKeys`; with `batch_size`, if the command takes one.

    Raises:
        UserError: if a module cannot be imported, or the run cannot be loaded.
    """
    from seqmodels.plugins import import_modules, trusted_classes

    with importing():
        from seqmodels.runs import load_run

    import_modules(config.imports)
    return load_run(
        config.run,
        config.checkpoint,
        batch_size=getattr(config, "batch_size", None),
        allowed_targets=trusted_classes(config),
    )


@contextmanager
def importing() -> Iterator[None]:
    """Within: a command imports what is slow, without the garbage collector, which would look
    through all modules again and again for a third of the time. They stay, so it never does."""
    first = "torch" not in sys.modules  # else there may be garbage, such as a sweep's earlier jobs
    if first:
        gc.disable()
    try:
        yield
    finally:
        if first:
            gc.freeze()
            atexit.register(gc.unfreeze)  # else torch's Triton says at the end that objects leak
            gc.enable()


def log_to_screen() -> None:
    """Shows warnings on standard error, as `configs/hydra/job_logging` does."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines("%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)


def composed(name: str) -> Callable[[Callable[[Any], None]], Script]:
    """Make a script of a function, with the configuration that Hydra composes from a file in
    `configs/`.

    Errors are made readable on both sides of Hydra: inside, because it would print its own words
    about ours before it passes them on, and outside for its own.

    Args:
        name: the file's name, such as `train`.
    """

    def decorate(function: Callable[[Any], None]) -> Script:
        @functools.wraps(function)
        def main() -> None:
            _open_streams()
            import hydra  # here, because most scripts start without it

            from seqmodels.launch.hydra_setup import for_resume, prepare_hydra

            prepare_hydra()
            _raise_errors()
            readable, begun = readable_errors(), list[bool]()

            def run_function(config: Any) -> None:
                begun.append(True)
                function(config)

            job = functools.wraps(function)(readable(run_function))
            run = hydra.main(version_base="1.3", config_path=str(SHIPPED), config_name=name)(job)
            with readable, _errors_from_hydra(begun, name):
                _check_words(sys.argv[1:])
                words = _options_last(sys.argv[1:])
                sys.argv[1:] = for_resume(words)
                run()
                sys.stdout.flush()

        return main

    return decorate


def _raise_errors() -> None:
    """Have Hydra raise errors. Otherwise it prints them in its own words and exits."""
    # by names that are not public: its setting, HYDRA_FULL_ERROR, would reach other processes, too
    from hydra._internal import hydra, utils

    hydra.run_and_report = utils.run_and_report = lambda func: func()


@contextmanager
def _errors_from_hydra(begun: Sequence[bool], name: str) -> Iterator[None]:
    """Within: say what is wrong with a command line that Hydra can't read or compose.

    Args:
        begun: empty as long as Hydra reads the command line and composes the configuration. It
            raises exceptions of all kinds there, for mistakes of the user.
        name: the name of the file that it composes, such as `train`.
    """
    try:
        yield
    except Exception as error:
        from seqmodels.launch.suggestions import cannot_compose, composing_mistake

        if text := composing_mistake(error, sys.argv[1:], name):
            raise UserError(text) from error
        if begun or is_mistake(error):
            raise
        raise UserError(cannot_compose(error, sys.argv[1:])) from error


def _open_streams() -> None:
    """Lead the standard streams that are closed (`>&-`) to nowhere; Python has None for them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 (until the end)


def _check_words(words: Sequence[str]) -> None:
    for word in words:
        if not word.isascii() and re.search("[\ud800-\udfff]", word):
            raise UserError(f"{word!a} is not UTF-8 text: write it in UTF-8")


def _options_last(words: Sequence[str]) -> list[str]:
    """Return the words with the options after the overrides: Hydra reads no others, `-m` may stand
    anywhere, and `--info` would take an override after it for its own value. Raise UserError for an
    option that Hydra would refuse with a page of help."""
    # Hydra's own parser, so that its options need no list here; it has no public name
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> None:
        raise UserError(f"{message}: --help shows the keys, --hydra-help the options")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign, assignment]
    overrides = parser.parse_intermixed_args(words).overrides
    options = list(words)
    for override in overrides:
        options.remove(override)
    return [*overrides, *options]
