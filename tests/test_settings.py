"""`key=value` words without Hydra."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seqmodels.errors import UserError
from seqmodels.launch.settings import read_settings

DEFAULTS = """\
run: ??? # the run folder
prompt: "" # as written
input:
  features: null # how many
  batch: 4
rate: 0.1
dynamic: false
imports: [] # modules
"""


@pytest.fixture
def defaults(tmp_path: Path) -> Path:
    path = tmp_path / "defaults.yaml"
    path.write_text(DEFAULTS)
    return path


def test_what_is_not_given_is_the_default(defaults: Path) -> None:
    assert read_settings(defaults, ["run=x"]) == SimpleNamespace(
        run="x",
        prompt="",
        input=SimpleNamespace(features=None, batch=4),
        rate=0.1,
        dynamic=False,
        imports=[],
    )


@pytest.mark.parametrize(
    "text",
    [
        "def f(x): ",
        "[x]",
        " a=b ",
        "",
        "null",
        "1e-3",
        "${oc.env:HOME}",
        "${",
        "???",
        "{a: b}",
        "é",
    ],
)
def test_text_is_taken_exactly_as_written(defaults: Path, text: str) -> None:
    settings = read_settings(defaults, [f"prompt={text}", f"run={text}"])
    assert settings.prompt == settings.run == text


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("input.batch=12", 12),
        ("rate=1e-3", 0.001),
        ("rate=2", 2.0),
        ("dynamic=true", True),
        ("imports=[a,b.c]", ["a", "b.c"]),
        ("imports=a", ["a"]),
        ("imports=[]", []),
        ("imports=['${a}']", ["${a}"]),
        ("input.features=12", 12),
        ("input.features=0.5", 0.5),
        ("input.features=null", None),
        ("input.features=[1,2]", [1, 2]),
        ("input.features=test/accuracy", "test/accuracy"),
        ("input.features=a: b", "a: b"),
        ("input.features=[a", "[a"),
        ("input.features=${run}", "${run}"),
        ("input.features=${", "${"),
    ],
)
def test_values_are_read_as_their_default_says(defaults: Path, word: str, value: Any) -> None:
    settings: Any = read_settings(defaults, ["run=x", word])
    for name in word.partition("=")[0].split("."):
        settings = getattr(settings, name)
    assert settings == value and type(settings) is type(value)


def test_the_last_word_of_a_key_counts(defaults: Path) -> None:
    assert read_settings(defaults, ["run=a", "run=b"]).run == "b"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "^run must be given: add run=<value>$"),
        (["rn=x"], "^rn is not a key of the configuration: choose one of .*; did you mean run[?]$"),
        (["input=3"], "^input is not a key .*did you mean input.batch[?]"),
        (["run=x", "input.batc=3"], "did you mean input.batch[?]$"),
        (["run=x", "more"], "^cannot read more: write key=value; --help shows the keys$"),
        (["run=x", "+rate=1"], "^cannot read [+]rate=1: write key=value"),
        (["run=x", "--cfg", "job"], "^--cfg is not an option: --help shows the keys to set$"),
        (["run=x", "imports=[a"], r"^cannot read imports=\[a: while parsing a flow sequence"),
        (["run=x", "imports=[${]"], r"^cannot read imports=\[\${\]: "),
        (["run=x", "rate=fast"], "^rate=fast: set it to a number, such as 0.1$"),
        (["run=x", "rate=true"], "^rate=true: set it to a number"),
        (["run=x", "input.batch=1.5"], "^input.batch=1.5: set it to a whole number, such as 4$"),
        (["run=x", "input.batch="], "^input.batch=: set it to a whole number"),
        (["run=x", "dynamic=1"], "^dynamic=1: set it to true or false$"),
    ],
)
def test_a_mistake_names_the_key_and_what_to_do(
    defaults: Path, words: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_settings(defaults, words)


def test_words_without_a_key_are_taken_where_a_script_wants_them(defaults: Path) -> None:
    words = ["runs/a", "run=x", "runs/rate=0.5", "runs/2026-*"]
    settings = read_settings(defaults, words, positional="places")
    assert settings.places == ["runs/a", "runs/rate=0.5", "runs/2026-*"] and settings.run == "x"
    assert read_settings(defaults, ["run=x"], positional="places").places == []
    with pytest.raises(UserError, match="^-x is not an option"):
        read_settings(defaults, ["run=x", "-x"], positional="places")
    with pytest.raises(UserError, match="^rte is not a key"):
        read_settings(defaults, ["run=x", "rte=1"], positional="places")
