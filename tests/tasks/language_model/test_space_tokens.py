"""Tokens that spaces separate, with an end token for each line: Penn Treebank and its like."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqmodels.tasks.language_model import PlainText, corpus

TREEBANK = " no it was n't black monday \n but <unk> did $ N million \n \n = = Title = = \n"


def data_of(folder: Path, train: str, test: str | None = None, **options: object) -> PlainText:
    for name, text in (("train.txt", train), ("test.txt", test or train)):
        (folder / name).write_bytes(text.encode())
    paths = [str(folder / name) for name in ("train.txt", "test.txt", "test.txt")]
    data = PlainText(*paths, tokenizer="space", evaluation_streams=1, **options)
    data.setup()
    return data


@pytest.mark.parametrize("block", [16, 1 << 18])  # shorter than a line, and longer than the text
def test_tokens_are_those_of_the_usual_loop_from_frequent_to_rare(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", block)
    data = data_of(tmp_path, TREEBANK * 9)
    ids = torch.from_numpy(data.tokens["train"].ids[1:].astype(int))
    usual = [token for line in TREEBANK.splitlines() for token in [*line.split(), "\n"]]
    assert [data.tokenizer.tokens[token] for token in ids] == usual * 9
    assert data.summary[0].startswith(f"train {9 * len(usual)} tokens with line ends of ")
    counts = torch.bincount(ids)[2:]
    assert counts.tolist() == sorted(counts.tolist(), reverse=True)


def test_unknown_tokens_are_charged_for_their_own_bytes_only(tmp_path: Path) -> None:
    test = "  a é \t bb 東京 n't \r\n\r\n ccc \n"
    data = data_of(tmp_path, "a bb ccc\n" * 9, test)
    assert data.tokens["test"].num_unknown == 3
    assert data.tokens["test"].unknown_bytes == len("é東京n't".encode())
    assert data.tokens["test"].num_bytes == len(test.encode())
    assert data.tokens["train"].unknown_bytes == 0
    # by rank, as a smaller vocabulary makes them
    small = data_of(tmp_path, "a a a bb bb ccc\n" * 9, vocabulary_size=5)
    assert small.tokens["train"].unknown_bytes == 9 * len("ccc")
