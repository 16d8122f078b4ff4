"""Find mistakes in a composed configuration before the slow imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from seqmodels.checking import Problem, option_problems
from seqmodels.errors import UserError, choices, shown
from seqmodels.launch.config_files import (
    config_folders,
    is_older,
    keys_of,
    shipped_checker,
)
from seqmodels.launch.suggestions import Suggestions
from seqmodels.plugins import project_modules

OLDER = "; if you have just added it: python -m seqmodels.launch.schema"


def check_settings(config: DictConfig, overrides: Sequence[str], keys: str) -> None:
    """Check every value against the shipped class that it will be passed to. `instantiate` checks
    the values of other classes.

    A number or a truth value where a text is meant, such as `data.train=2020`, becomes the text
    that was written. Nothing else changes.

    Args:
        config: as it was composed.
        overrides: what it was composed with, as typed.
        keys: the file that it was composed from, such as `train`.

    Raises:
        UserError: for an unknown key, or a value of a wrong type or out of range.
    """
    plain = _resolved(config, keys)
    others = _others(plain)  # whose names are left to the model to find
    problems = shipped_checker(own_names=others).problems(plain, keys_of(keys), "")
    texts = {p.key: text for p in problems if (text := _exact_text(p, plain, overrides))}
    if texts:
        for key, text in texts.items():
            OmegaConf.update(config, key, text)
        check_settings(config, overrides, keys)  # what interpolates them changes too
        return
    problems += _head_problems(plain["model"], others) if not problems else []
    if problems:
        [problem, *_] = problems
        value = typed(overrides, problem.key)
        if problem.is_unknown and value is None and isinstance(plain.get(problem.key), dict):
            raise UserError(
                f"{problem.key} is not a key of the configuration: if a file in "
                f"configs/{problem.key}/ gives it, begin that file with # @package _global_"
            )
        if problem.is_unknown:
            text = Suggestions(plain, keys).for_key(problem.key, value or "...")
            raise UserError(text + OLDER * is_older())
        raise UserError(_text(problem))


def _text(problem: Problem) -> str:
    """With `; did you mean optimizer=sgd?` after `model.optimizer=sgd`."""
    _, _, group = problem.key.rpartition(".")
    file = f"{problem.text.partition(': ')[0].partition('=')[2]}.yaml"
    meant = group != problem.key and any((f / group / file).is_file() for f in config_folders())
    return problem.text + f"; did you mean {group}={file[:-5]}?" * meant


def _resolved(config: DictConfig, keys: str) -> Any:
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except InterpolationResolutionError:  # perhaps because of a wrong value elsewhere
        plain = OmegaConf.to_container(config, resolve=False)
        for problem in shipped_checker().problems(plain, keys_of(keys), ""):
            if "${" not in problem.text:
                raise UserError(_text(problem)) from None
        raise


def typed(overrides: Sequence[str], key: str) -> str | None:
    """The text of the last `key=<text>` on a command line; None without one."""
    for override in reversed(overrides):
        name, equals, text = override.partition("=")
        if equals and name.lstrip("+") == key:
            return text.strip()
    return None


def _exact_text(problem: Problem, config: Any, overrides: Sequence[str]) -> str | None:
    """The text of a number where a text is meant; None if there is no exact one."""
    if not problem.may_be_text:
        return None
    text = typed(overrides, problem.key) or ""
    owner = typed(overrides, problem.key.rpartition(".")[0]) or ""
    if text and "${" not in text:
        return text
    value = config
    for name in problem.key.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    if "${" in text + owner:  # the text would be resolved to the same number again
        return str(value)
    exact = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if exact and (not owner or str(value) in owner) else None


def _others(config: Mapping[str, Any]) -> bool:
    """Whether modules of your own, or installed projects, may define heads and cells; or the task,
    of which the schema knows nothing."""
    takes = shipped_checker().classes(str(config.get("model", {}).get("_target_")))
    return bool(
        config.get("imports") or project_modules() or not takes or takes["additionalProperties"]
    )


def _head_problems(model: Mapping[str, Any], others: bool) -> list[Problem]:
    """What is wrong with the head's name and options."""
    name, options, checker = model["head"], model.get("head_options") or {}, shipped_checker()
    takes = checker.classes(f"model.head_options.{name}")
    if takes is None:
        heads = checker.names_in({"$ref": "#/definitions/model.head"})
        text = f"unknown model.head={shown(name)}: {choices(name, heads)}"
        return [] if others else [Problem("model.head", text)]
    return option_problems(checker, name, options, takes)
