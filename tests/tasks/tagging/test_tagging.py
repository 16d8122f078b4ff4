"""A tag for every step: which tensor, which loss, which metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.batch import SequenceBatch
from seqmodels.runs import load_run
from seqmodels.tasks.tagging import Tagger
from seqmodels.tasks.tagging.crf import CRF
from tests.conftest import Script, result_of
from tests.runs.resumed import resumes

B, T, V, H, TAGS = 4, 7, 11, 5, ["NN", "VB", "O"]
SPANS = ["O", "B-x", "I-x", "B-y", "I-y"]
LENGTHS = [7, 2, 5, 1]


def tagger(tags: list[str] = TAGS, **options: Any) -> Tagger:
    torch.manual_seed(0)
    data = {"inputs": "tokens", "num_inputs": V, "classes": tags}
    encoder = {"hidden_size": H, **options.pop("encoder", {})}
    return Tagger(data, encoder, **options).eval()


def batch_of(tags: int = len(TAGS), seed: int = 0) -> SequenceBatch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(2, V, (B, T), generator=generator)
    targets = torch.randint(tags, (B, T), generator=generator)
    padding = torch.arange(T) >= torch.tensor(LENGTHS)[:, None]
    return SequenceBatch(inputs, torch.tensor(LENGTHS), targets.masked_fill(padding, -100))


@pytest.mark.parametrize(("bidirectional", "directions"), [(None, 2), (False, 1)])
def test_every_step_of_output_gives_a_tag(bidirectional: bool | None, directions: int) -> None:
    task, batch = tagger(encoder={"bidirectional": bidirectional}), batch_of()
    packed = pack_padded_sequence(
        task.network.embedding(batch.inputs), batch.lengths, batch_first=True, enforce_sorted=False
    )
    output, _ = pad_packed_sequence(task.network.encoder.rnn(packed)[0], batch_first=True)
    assert output.shape == (B, T, directions * H)
    project = task.network.head.output.project
    expected = output @ project.weight.T + project.bias
    torch.testing.assert_close(task(batch), expected)
    batch.targets[0, 3] = batch.targets[2, 1] = -100  # unknown
    step = task.step(batch)
    loss = F.cross_entropy(expected.flatten(0, 1), batch.targets.flatten(), ignore_index=-100)
    torch.testing.assert_close(step.score.loss, loss)
    assert step.score.weight == step.sums["classes"][2].sum() == sum(LENGTHS) - 2


def test_class_weights_are_one_for_each_tag() -> None:
    weights = [1.0, 2.0, 0.5]
    task, batch = tagger(output={"class_weights": weights, "label_smoothing": 0.1}), batch_of()
    logits, targets = task(batch).flatten(0, 1), batch.targets.flatten()
    expected = F.cross_entropy(logits, targets, weight=torch.tensor(weights))
    torch.testing.assert_close(task.step(batch).score.loss, expected)


# ---------------------------------------------------------------- a CRF, and tags of spans


def test_a_crf_scores_the_tags_of_a_row_together() -> None:
    task, batch = tagger(output={"kind": "crf"}), batch_of()
    output = task.network.head.output
    assert isinstance(output, CRF)
    step = task.step(batch)
    features = task.network.head.features(task.network.encode(batch))
    torch.testing.assert_close(
        step.score.loss, output.score(features, batch.targets, batch.mask).loss
    )
    tags = output.decode(features, batch.mask)
    right = ((tags == batch.targets) & batch.mask).sum()
    assert step.sums["classes"][0].sum() == right
    described = task.predict_step(SequenceBatch(batch.inputs, batch.lengths))
    for row, found, length in zip(described, tags.tolist(), LENGTHS, strict=True):
        assert row["tags"] == [TAGS[tag] for tag in found[:length]]


# ---------------------------------------------------------------- whole runs

OWN = (
    *("model=tagger", "model.output.kind=crf", "model.encoder.hidden_size=12"),
    *("data=tags", "data.train=train.txt", "data.batch_size=8"),
    *("trainer=cpu", "trainer.max_epochs=4", "trainer.log_every_n_steps=5"),
    *("baseline=false", "callbacks.dataflow=null"),
)


@pytest.fixture
def train_file(tmp_path: Path) -> None:
    """Texts of letters. `a` begins a span that lasts until a `d`; its type depends on the letter
    before it."""
    random, lines = np.random.default_rng(0), []
    for _ in range(120):
        previous, inside = "", ""
        for word in random.choice([*"abcdef"], random.integers(2, 14)):
            tag = "O" if word == "d" or not inside else f"I-{inside}"
            if word == "a":
                tag = f"B-{'x' if previous in ('b', 'c') else 'y'}"
            previous, inside = word, tag[2:]
            lines.append(f"{word} {tag}")
        lines.append("")
    (tmp_path / "train.txt").write_text("\n".join(lines))


@pytest.mark.usefixtures("train_file")
def test_a_tagger_learns_and_its_checkpoint_alone_tags(script: Script, tmp_path: Path) -> None:
    learning = ("model.dropout=0.0", "model.optimizer.lr=0.02", "trainer.max_epochs=10")
    script("train.py", *OWN, *learning, f"folder={tmp_path / 'run'}")
    assert result_of(tmp_path / "run")["metrics"]["test/f1"] > 0.8
    task = Tagger.load_from_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt").eval()
    texts = [["b", "a", "e", "d"], ["a"]]
    rows = task.predict_step(load_run(tmp_path / "run").data.batch_of(texts))
    made = [row["tags"] for row in rows]
    assert made == [["O", "B-x", "I-x", "O"], ["B-y"]]
    done = script("predict.py", "run=run", "input=-", stdin="b a e d\na\n")
    assert [json.loads(line)["tags"] for line in done.stdout.splitlines()] == made


@pytest.mark.usefixtures("train_file")
def test_a_tagger_resumes_bit_for_bit(script: Script, tmp_path: Path) -> None:
    resumes(script, tmp_path, *OWN, step=28)
