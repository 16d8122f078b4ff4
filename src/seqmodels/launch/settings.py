"""Read `key=value` words over the defaults of a YAML file, without Hydra."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from seqmodels.errors import UserError, one_line
from seqmodels.files import flattened
from seqmodels.launch.readable_errors import missing_value, unknown_key

MISSING = "???"  # the default of a key that must be given
KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)*")


def read_settings(
    defaults: Path, words: Sequence[str], positional: str | None = None
) -> SimpleNamespace:
    """Return the values of a YAML file, changed by `key=value` words, as attributes.

    `input.features=12` sets a key inside `input:`, and of two words with the same key the last one
    counts. The default decides how a value is read:

    - text, or `???` for a key that must be given: exactly as written, with spaces and brackets;
    - a number or a truth value: YAML of the same type, such as `1e-3` or `true`;
    - a list: YAML, such as `[a,b]`; anything else is a list of one;
    - `null`: a number, a truth value, `null` or a list of YAML; anything else is text.

    Nothing is interpolated: `${...}` is text.

    Args:
        defaults: the YAML file.
        words: the command line, without the program's name.
        positional: the attribute that takes the words without a key, as a list. Without it, such
            a word is an error.

    Raises:
        UserError: for a word that is not `key=value`, an unknown key, a value of another type, or a
            missing value.
    """
    values = flattened(OmegaConf.to_container(OmegaConf.load(defaults)))
    missing = [key for key, value in values.items() if value == MISSING]
    given: dict[str, Any] = {}
    without_key = []
    for word in words:
        key, equals, text = word.partition("=")
        if word.startswith("-"):
            raise UserError(f"{word} is not an option: --help shows the keys to set")
        if equals and KEY.fullmatch(key):
            if key not in values:
                raise UserError(unknown_key(key, values))
            given[key] = _value(key, text, values[key])
        elif positional:
            without_key.append(word)
        else:
            raise UserError(f"cannot read {word}: write key=value; --help shows the keys")
    for key in missing:
        if key not in given:
            raise UserError(missing_value(key))
    settings = _nested(values | given)
    if positional:
        setattr(settings, positional, without_key)
    return settings


def _nested(leaves: Mapping[str, Any]) -> SimpleNamespace:
    settings = SimpleNamespace()
    for key, value in leaves.items():
        *groups, name = key.split(".")
        group = settings
        for inner in groups:
            group = vars(group).setdefault(inner, SimpleNamespace())
        setattr(group, name, value)
    return settings


def _value(key: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        parsed = OmegaConf.from_dotlist([f"value={text}"])
        value = OmegaConf.to_container(parsed, resolve=False)["value"]  # type: ignore[index, call-overload]
    except (YAMLError, OmegaConfBaseException) as error:
        if default is None:
            return text
        raise UserError(f"cannot read {key}={text}: {one_line(error)}") from error
    if default is None:
        return text if isinstance(value, (str, dict)) else value
    if isinstance(default, list):
        return value if isinstance(value, list) else [text]
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise UserError(f"{key}={text}: set it to true or false")
    if isinstance(value, (int, type(default))) and not isinstance(value, bool):
        return type(default)(value)  # 2 for 0.1 is 2.0
    kind = "whole number" if isinstance(default, int) else "number"
    raise UserError(f"{key}={text}: set it to a {kind}, such as {default}")
