"""The words of a command line."""

from __future__ import annotations

import pytest

from seqmodels.words import read_word


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("model.head=max_pool", ("", "model.head", "max_pool")),
        ("+logger=wandb", ("+", "logger", "wandb")),
        ("++a.b=c=d+~", ("++", "a.b", "c=d+~")),
        ("~callbacks.progress", ("~", "callbacks.progress", None)),
        ("tags=", ("", "tags", "")),
        ("=1", ("", "", "1")),
        ("+", ("+", "", None)),
        ("my.csv", ("", "my.csv", None)),
        ("", ("", "", None)),
    ],
)
def test_a_word_has_a_sign_a_key_and_a_value(text: str, parts: tuple[str, str, str | None]) -> None:
    assert read_word(text) == parts
