"""What Hydra composes from `configs/`: for a command, or for `train` in a notebook.

Hydra is imported where it is needed: most commands start without it, and `--help` of none waits.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodels.errors import UserError, choices, one_line, shown, unknown_key
from seqmodels.launch.readable_errors import error_line, readable_errors
from seqmodels.plain_values import flattened

if TYPE_CHECKING:
    from omegaconf import DictConfig

PACKAGE = Path(__file__).resolve().parents[1]
# a wheel has it in the package, a checkout at the root
SHIPPED = next(p for p in (PACKAGE / "configs", PACKAGE.parents[1] / "configs") if p.is_dir())


def composed(name: str) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Make a script of a function, with what Hydra composes from `configs/<name>.yaml`.

    Errors are made readable on both sides of Hydra: inside, because it would print its own words
    about ours before it passes them on, and outside for its own.
    """

    def decorate(function: Callable[[Any], None]) -> Callable[[], None]:
        @functools.wraps(function)
        def main() -> None:
            import hydra  # here, because most scripts start without it
            from hydra._internal import hydra as internal
            from hydra._internal import utils

            from seqmodels.launch.hydra_setup import for_resume, prepare_hydra

            prepare_hydra()
            # Hydra wants its options first
            sys.argv[1:] = for_resume(sorted(sys.argv[1:], key=_is_override))
            # by a name that is not public: otherwise Hydra prints errors in its words and exits;
            # its setting, HYDRA_FULL_ERROR, would reach other processes, too
            internal.run_and_report = utils.run_and_report = lambda func: func()
            readable, begun = readable_errors(), list[bool]()

            def run_function(config: Any) -> None:
                begun.append(True)
                function(config)

            job = functools.wraps(function)(readable(run_function))
            run = hydra.main(version_base="1.3", config_path=str(SHIPPED), config_name=name)(job)
            with readable:
                try:
                    run()
                except Exception as error:
                    if begun and not is_of_hydra(error):
                        raise
                    raise mistake(error, sys.argv[1:], name) from error
                sys.stdout.flush()

        return main

    return decorate


def _is_override(word: str) -> bool:
    return not word.startswith("-") and ("=" in word or word[:1] in "+~")


def is_of_hydra(error: Exception) -> bool:
    """Whether Hydra raised it, as it does where it composes a job of a sweep."""
    from hydra.errors import HydraException

    return isinstance(error, HydraException)


def mistake(error: Exception, words: Sequence[str], name: str) -> UserError:
    """What Hydra says in one line, and for an unknown key, or file, which one you may mean.

    Args:
        words: of the command line.
        name: the file that it composes, such as `train`.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import MissingConfigException
    from omegaconf import OmegaConf

    if override := getattr(error, "override", None):  # an OverrideParseException
        return UserError(f"cannot read {shown(override)}: {one_line(error)}")
    found = re.search(r"Could not (?:override|delete from config\.) '([^'=]+)", str(error))
    if isinstance(error, MissingConfigException):
        group, _, file = (error.missing_cfg_file or "").rpartition("/")
        options = error.options or [path.stem for path in (SHIPPED / group).glob("*.yaml")]
        return UserError(f"{group}={shown(file)}: {choices(file, options)}")
    if found is None:
        line = error_line(error) or one_line(error)
        return UserError(line if is_of_hydra(error) else f"{' '.join(words)}: {line}")
    keys = {word: word.partition("=")[0] for word in words}
    groups = [w for w, key in keys.items() if key != found[1] and (SHIPPED / key).is_dir()]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(SHIPPED), version_base="1.3"):
        plain: Any = OmegaConf.to_container(hydra.compose(name, groups), resolve=False)
    return UserError(f"{unknown_key(found[1], flattened(plain))} (+{found[1]} adds one)")


def compose(*overrides: str) -> DictConfig:
    """What `python scripts/train.py` would train with. It leaves no state of Hydra.

    Args:
        overrides: the words of the command line, such as `model.head=max_pool`.

    Raises:
        UserError: for a key or a file that does not exist, with what was probably meant.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from seqmodels.launch.hydra_setup import for_resume, prepare_hydra

    prepare_hydra()
    words, yours = for_resume(overrides), (GlobalHydra.instance().hydra, HydraConfig.instance().cfg)
    GlobalHydra.instance().clear()  # it composes for one program at a time
    HydraConfig.instance().cfg = None
    try:
        with hydra.initialize_config_dir(str(SHIPPED), version_base="1.3", job_name="train"):
            whole = hydra.compose("train", words, return_hydra_config=True)
            folder = whole.folder  # named once
    except Exception as error:  # Hydra raises many kinds
        raise mistake(error, overrides, "train") from error
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = yours
    plain: Any = OmegaConf.to_container(whole, resolve=False)
    del plain["hydra"]
    plain["folder"] = folder
    return OmegaConf.create(plain)
