"""A tag for every step: which tensor, which loss, which metrics; spans against seqeval; and
whether what a test leaves for each row is enough to score it again."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.batch import PADDING_TARGET, SequenceBatch
from seqmodels.data.targets import mark_spans
from seqmodels.engine.class_task import scores
from seqmodels.runs import load_run
from seqmodels.tasks.tagging import Tagger
from seqmodels.tasks.tagging.crf import CRF
from seqmodels.tasks.tagging.spans import SpanCounter
from tests.conftest import Script, result_of
from tests.make import batch_for, build_task
from tests.predictions import mean_loss, rows_of, table_of
from tests.runs.resumed import resumes

B, T, V, H, TAGS = 4, 7, 11, 5, ["NN", "VB", "O"]
SPANS = ["O", "B-x", "I-x", "B-y", "I-y"]
LENGTHS = [7, 2, 5, 1]


def tagger(tags: list[str] = TAGS, **options: Any) -> Tagger:
    data = {"inputs": "tokens", "num_inputs": V, "classes": tags}
    return build_task(Tagger, data, hidden_size=H, **options)


@pytest.mark.parametrize(("bidirectional", "directions"), [(None, 2), (False, 1)])
def test_every_step_of_output_gives_a_tag(bidirectional: bool | None, directions: int) -> None:
    task = tagger(encoder={"bidirectional": bidirectional})
    batch = batch_for(task, LENGTHS)
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
    task = tagger(output={"class_weights": weights, "label_smoothing": 0.1})
    batch = batch_for(task, LENGTHS)
    logits, targets = task(batch).flatten(0, 1), batch.targets.flatten()
    expected = F.cross_entropy(logits, targets, weight=torch.tensor(weights))
    torch.testing.assert_close(task.step(batch).score.loss, expected)


# ---------------------------------------------------------------- a CRF, and tags of spans


def test_a_crf_scores_the_tags_of_a_row_together() -> None:
    task = tagger(output={"kind": "crf"})
    batch = batch_for(task, LENGTHS)
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


# ---------------------------------------------------------------- tags that mark spans


TYPES = ("LOC", "a-b", "B")
SCORES = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
LETTERS = {"BIO": "BI", "BIOES": "BIES", "BILOU": "BILU"}
TAGS_OF_SCHEMES = {
    scheme: ["O", *(f"{letter}-{kind}" for letter in letters for kind in TYPES)]
    for scheme, letters in LETTERS.items()
}


def taggings(scheme: str, count: int, seed: int) -> list[list[str]]:
    """Random rows; every second one of few different tags, so that spans are long and agree."""
    drawn = random.Random(seed)
    rows = []
    for number in range(count):
        tags = drawn.sample(TAGS_OF_SCHEMES[scheme], 3) if number % 2 else TAGS_OF_SCHEMES[scheme]
        rows.append([drawn.choice(tags) for _ in range(drawn.randint(1, 9))])
    return rows


# ---------------------------------------------------------------- schemes


def test_only_tags_with_a_beginning_or_an_inside_mark_spans() -> None:
    for tags in (["O", "B-NP", "I-NP"], ["O", "I-NP"], ["I-x", "U-x"]):
        assert mark_spans(tags)
    # in `S-x E-y` no span would ever be longer than a step
    for tags in (["NN", "O"], ["S-x", "E-y"], ["b-x", "B_x", "x-B", "O"]):
        assert not mark_spans(tags)


# ---------------------------------------------------------------- scores


def flat(rows: list[list[str]], tags: list[str], width: int) -> torch.Tensor:
    numbers = [[tags.index(tag) for tag in row] for row in rows]
    return torch.tensor([row + [PADDING_TARGET] * (width - len(row)) for row in numbers])


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_scores_are_those_of_another_library_on_1000_taggings(scheme: str) -> None:
    truth, tags = taggings(scheme, 1000, seed=3), TAGS_OF_SCHEMES[scheme]
    drawn = random.Random(4)
    predicted = [[t if drawn.random() < 0.8 else drawn.choice(tags) for t in row] for row in truth]
    count, counts = SpanCounter(tags), 0
    for start in range(0, 1000, 37):  # batches of several widths
        rows = slice(start, start + 37)
        width = max(map(len, truth[rows])) + start % 2
        found, there = (flat(each[rows], tags, width) for each in (predicted, truth))
        found[there == PADDING_TARGET] = drawn.randrange(len(tags))  # anything at padding
        counts = counts + count(found, there)
    whole = scores(counts.sum(1))
    for name, score in SCORES.items():
        assert float(whole[name]) == pytest.approx(score(truth, predicted), abs=1e-6)
    by_type = precision_recall_fscore_support(truth, predicted, average=None)
    for found, expected in zip(scores(counts[:, :-1]).values(), by_type, strict=False):
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))
    assert counts[2].tolist() == [*by_type[3], 0]


def test_a_span_does_not_run_into_the_next_row_or_over_an_unknown_step() -> None:
    tags = ["O", "B-x", "I-x"]
    target = torch.tensor([[1, 2, -100, 2, 1], [2, -100, -100, -100, -100]])
    made = torch.tensor([[1, 2, 2, 2, 1], [2, 2, 2, 0, 1]])
    # by hand: [B I] [I] [B], [I]; each of them is right, and what is predicted at -100 is not read
    assert SpanCounter(tags)(made, target).tolist() == [[4, 0], [4, 0], [4, 0]]


# ---------------------------------------------------------------- the rows of a test


WORDS = ("train.py", "model=tagger", "data=tags", "data.train=train.txt", "trainer=cpu")
QUICK = ("trainer.max_epochs=2", "baseline=false", "callbacks.dataflow=null", "data.batch_size=4")


def texts(folder: Path) -> None:
    """Names of two types, of different lengths; the test has a type that training never saw."""
    names = [["Ann B-x", "Lee I-x"], ["Rome B-y"], ["in O"], ["Bo B-x"], ["a O", "b, O"]]
    rows = [[*names[n % 5], *names[(n * 3 + 1) % 5], *names[n % 2]] for n in range(30)]
    blocks = ["\n".join(row) for row in rows]
    (folder / "train.txt").write_text("\n\n".join(blocks) + "\n")
    odd = ["Mars B-z\nNew I-z\nin O", "a O\nRome B-y\nMars B-z"]
    (folder / "test.txt").write_text("\n\n".join([*blocks[:9], *odd]) + "\n")


@pytest.mark.parametrize("kind", ["classes", "crf"])
def test_the_table_follows_from_the_rows(script: Script, tmp_path: Path, kind: str) -> None:
    texts(tmp_path)
    own = ("data.test=test.txt", f"model.output.kind={kind}", "folder=run")
    script(*WORDS, *QUICK, *own)
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    metrics = result_of(tmp_path / "run")["metrics"]
    words = [line.split()[0] for line in (tmp_path / "test.txt").read_text().split("\n") if line]
    assert [word for row in rows for word in row["tokens"]] == words
    targets, predictions = ([row[name] for row in rows] for name in ("target", "prediction"))
    pairs = [pair for row in zip(targets, predictions) for pair in zip(*row, strict=True)]
    unseen = "(never seen in training)"
    assert sum(unseen in target for target, _ in pairs) == 3
    again = {
        "test/accuracy": sum(target == made for target, made in pairs) / len(pairs),
        "test/precision": precision_score(targets, predictions),
        "test/recall": recall_score(targets, predictions),
        "test/f1": f1_score(targets, predictions),
        "test/loss": mean_loss(rows, [sum(unseen not in tag for tag in row) for row in targets]),
    }
    assert again == pytest.approx({name: metrics[name] for name in again}, abs=1e-6)
    spans = [[tag.replace(f"-{unseen}", "-?") for tag in row] for row in targets]
    types = sorted({tag[2:] for row in spans for tag in row if tag != "O"} - {""})
    by_type = precision_recall_fscore_support(spans, predictions, average=None, zero_division=0)
    found = {name: of for name, *of in table_of(tmp_path / "run" / "scores.csv")}
    for name, *of in zip(types, *by_type, strict=True):
        name = name.replace("?", "never seen in training")
        assert [*map(float, found.pop(name))] == pytest.approx(of, abs=1e-6)
    assert not found
    assert ("probability" in rows[0]) == (kind == "classes")
