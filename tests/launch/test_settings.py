"""`key=value` words without Hydra."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest

from seqmodels.arguments import Count, Name, NonNegative, OneOf
from seqmodels.errors import UserError
from seqmodels.launch.settings import read_settings
from seqmodels.signatures import arguments


@dataclass
class InputKeys:
    features: int | float | list[int] | None
    batch: Count


@dataclass
class Keys:
    run: Name
    prompt: str
    input: InputKeys
    file: Name | None
    rate: NonNegative
    dynamic: bool
    imports: list[str]
    kind: Annotated[str, OneOf("fast", "slow")]


KEYS = arguments(Keys) or {}
DEFAULTS = """\
run: ??? # the run folder
prompt: "" # as written
input:
  features: null # how many
  batch: 4
file: null
rate: 0.1
dynamic: false
imports: [] # modules
kind: fast
"""


@pytest.fixture
def defaults(tmp_path: Path) -> Path:
    path = tmp_path / "defaults.yaml"
    path.write_text(DEFAULTS)
    return path


def test_what_is_not_given_is_the_default(defaults: Path) -> None:
    assert read_settings([defaults], ["run=x"], KEYS) == SimpleNamespace(
        run="x",
        prompt="",
        input=SimpleNamespace(features=None, batch=4),
        file=None,
        rate=0.1,
        dynamic=False,
        imports=[],
        kind="fast",
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
    settings = read_settings([defaults], ["run=x", f"prompt={text}"], KEYS)
    assert settings.prompt == text


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
        ("file=2024", "2024"),
        ("file=007", "007"),
        ("file=1e3", "1e3"),
        ("file=nan", "nan"),
        ("file=true", "true"),
        ("file=null", None),
        ("file=test/accuracy", "test/accuracy"),
        ("file=a: b", "a: b"),
        ("file=[a", "[a"),
        ("file=${run}", "${run}"),
        ("file=${", "${"),
    ],
)
def test_values_are_read_as_their_default_says(defaults: Path, word: str, value: Any) -> None:
    settings: Any = read_settings([defaults], ["run=x", word], KEYS)
    for name in word.partition("=")[0].split("."):
        settings = getattr(settings, name)
    assert settings == value and type(settings) is type(value)


def test_the_last_word_of_a_key_counts(defaults: Path) -> None:
    assert read_settings([defaults], ["run=a", "run=b"], KEYS).run == "b"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "^run must be given: add run=<value>$"),
        (["rn=x"], "^rn is not a key of the configuration: did you mean run[?]$"),
        (["featurs=3"], "^featurs is not a key .*: did you mean input.features[?]$"),
        (["other=3"], "^other is not a key .*: choose one of dynamic, file, imports, input, kind"),
        (["input=3"], "^input is not a key .*: choose one of input.batch, input.features$"),
        (["run=x", "input.batc=3"], "did you mean input.batch[?]$"),
        (["run=x", "more"], "^cannot read more: write key=value; --help shows the keys$"),
        (["run=x", "+rate=1"], "^cannot read [+]rate=1: write key=value"),
        (["run=x", "--cfg", "job"], "^--cfg is not an option: --help shows the keys to set$"),
        (["run=x", "imports=[a"], r"^cannot read imports=\[a: while parsing a flow sequence"),
        (["run=x", "imports=[${]"], r"^cannot read imports=\[\${\]: "),
        (["run="], "^run=: set it to a text that is not empty$"),
        (["run=x", "rate=fast"], "^rate=fast: set it to a number of at least 0$"),
        (["run=x", "rate=true"], "^rate=true: set it to a number"),
        (["run=x", "rate=nan"], "^rate=nan: set it to a number"),
        (["run=x", "rate=inf"], "^rate=inf: set it to a number"),
        (["run=x", "rate=-1"], "^rate=-1: set it to a number of at least 0$"),
        (["run=x", "input.batch=1.5"], "^input.batch=1.5: set it to a whole number of at least 1$"),
        (["run=x", f"input.batch={2**70}"], "^input.batch=1180591620717411303424: .* too large"),
        (["run=x", "input.batch="], "^input.batch=: set it to a whole number"),
        (["run=x", "input.features=[a]"], "^input.features.0=a: set it to a whole number"),
        (["run=x", "dynamic=1"], "^dynamic=1: set it to true or false$"),
        (["run=x", "kind=fsat"], "^kind=fsat: choose one of fast, slow; did you mean fast[?]$"),
    ],
)
def test_a_mistake_names_the_key_and_what_to_do(
    defaults: Path, words: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_settings([defaults], words, KEYS)


def test_words_without_a_key_are_taken_where_a_script_wants_them(defaults: Path) -> None:
    words = ["runs/a", "run=x", "runs/rate=0.5", "runs/2026-*"]
    settings = read_settings([defaults], words, KEYS, positional="places")
    assert settings.places == ["runs/a", "runs/rate=0.5", "runs/2026-*"] and settings.run == "x"
    assert read_settings([defaults], ["run=x"], KEYS, positional="places").places == []
    with pytest.raises(UserError, match="^-x is not an option"):
        read_settings([defaults], ["run=x", "-x"], KEYS, positional="places")
    with pytest.raises(UserError, match="^rte is not a key"):
        read_settings([defaults], ["run=x", "rte=1"], KEYS, positional="places")
