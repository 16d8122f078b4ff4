"""Find mistakes in a composed configuration before the slow imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from seqmodels.errors import UserError, choices, shown
from seqmodels.launch.config_files import config_folders
from seqmodels.launch.suggestions import Suggestions
from seqmodels.signatures.checking import Problem, find_problems
from seqmodels.signatures.heads import heads_for
from seqmodels.signatures.reading import Signature, signature

CELL_KEYS = ("model.encoder.cell", "model.decoder.cell", "model.characters")


def check_settings(config: DictConfig, overrides: Sequence[str], keys: type) -> None:
    """Check every value against the signature it will be passed to.

    A number or a truth value where a text is meant, such as `data.train=2020`, becomes the text
    that was written. Nothing else changes.

    Args:
        config: as it was composed.
        overrides: those that it was composed with, as written.
        keys: a class with the keys of the configuration, such as `TrainKeys`.

    Raises:
        UserError: naming the key, its value and what is allowed.
    """
    plain = _resolved(config, keys)
    problems = [p for p in find_problems(plain, keys, "") if not _may_be_own(p, plain)]
    texts = {p.key: text for p in problems if (text := _exact_text(p, plain, overrides))}
    if texts:
        for key, text in texts.items():
            OmegaConf.update(config, key, text)
        check_settings(config, overrides, keys)  # what interpolates them changes too
        return
    problems += _of_head(plain["model"], plain["imports"]) if not problems else []
    if problems:
        [problem, *_] = problems
        value = written(overrides, problem.key)
        if problem.is_unknown and value is None and isinstance(plain.get(problem.key), dict):
            raise UserError(
                f"{problem.key} is not a key of the configuration: if a file in "
                f"configs/{problem.key}/ gives it, begin that file with # @package _global_"
            )
        if problem.is_unknown:
            raise UserError(Suggestions(plain, keys).for_key(problem.key, value or "..."))
        raise UserError(_text(problem))


def _text(problem: Problem) -> str:
    """With `; did you mean optimizer=sgd?` after `model.optimizer=sgd`."""
    _, _, group = problem.key.rpartition(".")
    file = f"{problem.text.partition(': ')[0].partition('=')[2]}.yaml"
    meant = group != problem.key and any((f / group / file).is_file() for f in config_folders())
    return problem.text + f"; did you mean {group}={file[:-5]}?" * meant


def _resolved(config: DictConfig, keys: type) -> Any:
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except InterpolationResolutionError:  # perhaps because of a wrong value elsewhere
        plain = OmegaConf.to_container(config, resolve=False)
        for problem in find_problems(plain, keys, ""):
            if "${" not in problem.text:
                raise UserError(_text(problem)) from None
        raise


def written(overrides: Sequence[str], key: str) -> str | None:
    """What the last `key=<text>` of a command line says; None without one."""
    for override in reversed(overrides):
        name, equals, text = override.partition("=")
        if equals and name.lstrip("+") == key:
            return text.strip()
    return None


def _exact_text(problem: Problem, config: Any, overrides: Sequence[str]) -> str | None:
    """The text of a number where a text is meant; None if there is no exact one."""
    if not problem.may_be_text:
        return None
    text = written(overrides, problem.key) or ""
    owner = written(overrides, problem.key.rpartition(".")[0]) or ""
    if text and "${" not in text:
        return text
    value = config
    for name in problem.key.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    if "${" in text + owner:  # the text would be resolved to the same number again
        return str(value)
    exact = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if exact and (not owner or str(value) in owner) else None


def _may_be_own(problem: Problem, config: Mapping[str, Any]) -> bool:
    """Whether a module of your own may define this cell: left to the model to find."""
    model = config["model"]
    others = config["imports"] or not str(model.get("_target_")).startswith("seqmodels.")
    return bool(others) and problem.key in CELL_KEYS and not problem.may_be_text


def _of_head(model: Mapping[str, Any], imports: str | list[str]) -> list[Problem]:
    """Of the head's name and options. A head that is not found is left to the model to find, if
    modules of your own may define it in another way than by a class with a name."""
    heads = heads_for(model, imports)
    name = model["head"]
    if name not in heads:
        others = imports or not model["_target_"].startswith("seqmodels.")
        text = f"unknown model.head={shown(name)}: {choices(name, heads)}"
        return [] if others else [Problem("model.head", text)]
    options = model.get("head_options") or {}
    takes = signature(heads[name], "build") or Signature(more=True)
    takes = takes.without(["encoder"])
    for option in options:
        if option not in takes.hints and not takes.more:
            offers = f"it takes {', '.join(takes.hints)}" if takes.hints else "it takes none"
            text = f"model.head_options.{option}: head {name!r} has no such option; {offers}"
            return [Problem(f"model.head_options.{option}", text)]
    return [
        problem
        for option, value in options.items()
        if option in takes.hints
        for problem in find_problems(value, takes.hints[option], f"model.head_options.{option}")
    ]
