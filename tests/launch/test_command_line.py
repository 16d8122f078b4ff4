"""A function is a command: its arguments are the keys."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import pytest

from seqmodels.arguments import ArgumentsOf, Name, NonNegative
from seqmodels.launch.command_line import Names, command

SEEN: list[Any] = []


Input = Annotated[
    dict[str, Any],
    ArgumentsOf("seqmodels.audit.find_model.random_batch", "model", "seed", "padding"),
]


@command
def main(
    run: Name,
    *,
    prompt: str = "",
    input: Input | None = None,
    file: Name | None = None,
    rate: NonNegative = 0.1,
    exact: bool = False,
    imports: Names = (),
    kind: Literal["fast", "slow"] = "fast",
) -> None:
    """Do something with a run.

    Args:
        run: the run folder.
    """
    SEEN.append(locals())


@command
def compare(*places: str, metric: Name | None = None) -> None:
    SEEN.append({"places": places, "metric": metric})


def call(monkeypatch: pytest.MonkeyPatch, script: Any, *words: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["script.py", *words])
    SEEN.clear()
    script()
    return SEEN[0] if SEEN else {}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("kind=slow", "slow"),
        ("input.batch=12", {"batch": 12}),
        ("input.features=null", {"features": None}),
        ("rate=1e-3", 0.001),
        ("rate=2", 2.0),
        ("exact=true", True),
        ("imports=[a,b.c]", ["a", "b.c"]),
        ("imports=a", ["a"]),
        ("imports=[]", []),
        *((f"prompt={text}", text) for text in ("def f(x): ", "[x]", " a=b ", "", "null", "1e-3")),
        *((f"prompt={text}", text) for text in ("${oc.env:HOME}", "${", "???", "{a: b}", "é")),
        *((f"file={text}", text) for text in ("2024", "007", "1e3", "nan", "true", "[a", "a: b")),
        ("file=null", None),
    ],
)
def test_a_value_is_read_as_its_argument_says(
    word: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = call(monkeypatch, main, "run=x", word)
    found = seen.pop(word.partition("=")[0].partition(".")[0])
    assert found == value and type(found) is type(value)
    usual = call(monkeypatch, main, "run=x")
    assert seen.items() <= usual.items()


def test_the_last_word_of_a_key_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, main, "run=a", "run=b")["run"] == "b"


def test_words_without_a_key_are_taken_where_a_script_wants_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = call(monkeypatch, compare, "runs/a", "metric=x", "runs/rate=0.5", "runs/2026-*")
    assert seen == {"places": ("runs/a", "runs/rate=0.5", "runs/2026-*"), "metric": "x"}


def test_help_is_the_docstring_and_the_usual_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, main, "--help")
    text = capsys.readouterr().out
    assert text.startswith("Do something with a run.\n\nArgs:\n    run: the run folder.\n\n")
    assert "prompt: ''\n" in text and "imports: []\n" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "run must be given: add run=<value>"),
        (["rn=x"], "rn is not a key of the configuration: did you mean run?"),
        (["other=3"], "other is not a key of the configuration: choose one of exact, file, imp"),
        (["run=x", "input=3"], "input=3: "),
        (
            ["run=x", "input.batc=3"],
            "input.batc is not a key of the configuration: did you mean",
        ),
        (["run=x", "more"], "cannot read more: write key=value; --help shows the keys"),
        (["run=x", "+rate=1"], "cannot read +rate=1: write key=value"),
        (["run=x", "--cfg", "job"], "cannot read --cfg: write key=value"),
        (["run="], "run=: "),
        (["run=x", "rate=fast"], "rate=fast: input should be a valid number"),
        (["run=x", "rate=nan"], "rate=nan: input should be a finite number"),
        (["run=x", "rate=-1"], "rate=-1: input should be greater than or equal to 0"),
        (["run=x", "input.batch=1.5"], "input.batch=1.5: input should be a valid integer"),
        (["run=x", "exact=maybe"], "exact=maybe: input should be a valid boolean"),
        (["run=x", "kind=fsat"], "kind=fsat: input should be 'fast' or 'slow'"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, main, *words)
    said = capsys.readouterr()
    assert end.value.code == 2 and said.out == "" and said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1 and not SEEN
