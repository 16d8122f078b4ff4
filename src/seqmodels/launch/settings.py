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

from seqmodels.checking import Schema
from seqmodels.errors import UserError, missing_value, refusing, shown, unknown_key
from seqmodels.launch.config_files import shipped_checker
from seqmodels.plain_values import change, flattened, read_yaml

MISSING = "???"  # the default of a key that must be given
KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)*")


def read_settings(
    defaults: Sequence[Path], words: Sequence[str], keys: Schema, positional: str | None = None
) -> SimpleNamespace:
    """Return the values of YAML files, changed by `key=value` words, as attributes.

    `input.features=12` sets a key inside `input:`, and of two words with the same key the last one
    counts. The type of the key decides how a value is read:

    - text: exactly as written, with spaces and brackets, and `null` where there may be none;
    - text or a list: the same, but YAML if it begins with a bracket;
    - a list: YAML, such as `[a,b]`; anything else is a list of one;
    - a number or a truth value: YAML, such as `1e-3` or `true`.

    Nothing is interpolated: `${...}` is text.

    Args:
        defaults: the shipped file, and others over it that may be missing and may give a part.
        words: the command line, without the program's name.
        keys: the schema of the file, as `keys_of` gives it.
        positional: the attribute that takes the words without a key, as a list. Without it, such
            a word is an error.

    Raises:
        UserError: for a word that is not `key=value`, an unknown key, a value of another type, or a
            missing value.
    """
    nested: Any = OmegaConf.to_container(OmegaConf.load(defaults[0]))
    values, parts = flattened(nested), shipped_checker().known_keys(nested, keys)
    for file in filter(Path.is_file, defaults[1:]):
        values |= _own_values(file, values, parts)
    given: dict[str, Any] = {}
    without_key = []
    for word in words:
        key, equals, text = word.partition("=")
        if word.startswith("-"):
            raise UserError(f"{shown(word)} is not an option: --help shows the keys to set")
        if equals and KEY.fullmatch(key):
            if key not in values:
                raise UserError(unknown_key(key, values))
            given[key] = _value(key, text, parts[key])
        elif positional:
            without_key.append(word)
        else:
            raise UserError(f"cannot read {shown(word)}: write key=value; --help shows the keys")
    for key, value in values.items():
        if value == MISSING and key not in given:
            raise UserError(missing_value(key))
    change(nested, values | given)
    settings = _attributes(nested)
    if positional:
        setattr(settings, positional, without_key)
    return settings


def _own_values(
    file: Path, values: Mapping[str, Any], parts: Mapping[str, Schema]
) -> dict[str, Any]:
    own = read_yaml(file) or {}
    if not isinstance(own, Mapping):
        raise UserError(f"{file} holds no keys: write a line such as {next(iter(values))}: <value>")
    own = flattened(own)
    for key, value in own.items():
        if key not in values:
            raise UserError(f"{file}: {unknown_key(key, values)}")
        if problems := shipped_checker().problems(value, parts[key], key):
            raise UserError(f"{file}: {problems[0].text}")
    return own


def _attributes(values: Mapping[str, Any]) -> SimpleNamespace:
    inner = {k: _attributes(v) if isinstance(v, dict) else v for k, v in values.items()}
    return SimpleNamespace(**inner)


def _value(key: str, text: str, part: Schema) -> Any:
    checker = shipped_checker()
    if text == "null" and not checker.problems(None, part, key):
        return None
    is_list = text.startswith("[") and checker.allows(part, "array")
    is_text = checker.allows(part, "string") and not is_list
    if is_text and checker.allows(part, "number"):  # of some words, or a number
        is_text = not checker.problems(text, part, key)
    value = text if is_text else _parsed(key, text)
    if checker.resolved(part).get("type") == "array" and not isinstance(value, list):
        value = [text]
    if problems := checker.problems(value, part, key):
        raise UserError(problems[0].text)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_number and not checker.allows(part, "integer") else value


def _parsed(key: str, text: str) -> Any:
    if not text.strip():
        return text  # which YAML takes for null
    with refusing(f"cannot read {key}={shown(text)}", YAMLError, OmegaConfBaseException):
        parsed = OmegaConf.from_dotlist([f"value={text}"])
        return OmegaConf.to_container(parsed, resolve=False)["value"]  # type: ignore[index, call-overload]
