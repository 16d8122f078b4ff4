"""Sequence to sequence, from outside: which tensors feed the decoder, and whole runs."""

from __future__ import annotations

import json
import math
import signal
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.audit import audit
from seqmodels.batch import PairBatch, SequenceBatch
from seqmodels.data.pairs import to_write
from seqmodels.dataflow import trace
from seqmodels.errors import UserError
from seqmodels.nn.attention import SCORES
from seqmodels.nn.embedding import LockedDropout
from seqmodels.runs import load_run
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.tasks import Seq2Seq
from tests.conftest import Script
from tests.test_resume import same_run, stopped_by
from tests.test_scripts import JoinedBatches

pytestmark = pytest.mark.filterwarnings(
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning"
)

V, W, H, E, L = 11, 13, 6, 5, 2  # source tokens, target tokens, widths, layers
LENGTHS, WRITTEN = [7, 3, 1, 5], [2, 5, 1, 3]
SPEC = {"inputs": "tokens", "num_inputs": V, "num_targets": W, "start": 0, "end": 2, "longest": 6}

CELLS = [("lstm", 0), ("lstm", 4), ("gru", 0), ("rnn", 0)]
HEADS: list[tuple[str, dict[str, Any]]] = [
    ("final_state", {}),
    *(("attention", {"score": score}) for score in SCORES),
]
every_cell = pytest.mark.parametrize(("cell", "proj"), CELLS)
every_direction = pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
every_head = pytest.mark.parametrize(("head", "options"), HEADS, ids=["final_state", *SCORES])


def seq2seq(
    head: str = "attention", cell: str = "lstm", proj: int = 0, two: bool = True, **options: Any
) -> Seq2Seq:
    torch.manual_seed(0)
    encoder = {"cell": cell, "hidden_size": H, "num_layers": L, "bidirectional": two}
    data = {**SPEC, "shared": options.pop("shared", False)}
    if data["shared"]:
        data["num_inputs"] = W
    encoder |= {"proj_size": proj} if proj else {}
    return Seq2Seq(data, encoder, head, embedding_size=E, **options)


def pairs(references: bool = False) -> PairBatch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(3, V, (len(LENGTHS), max(LENGTHS)), generator=generator)
    for row, length in enumerate(LENGTHS):
        inputs[row, length:] = 0
    written = [torch.randint(3, W, (n,), generator=generator) for n in WRITTEN]
    return PairBatch(SequenceBatch(inputs, torch.tensor(LENGTHS)), to_write(written))


# ---------------------------------------------------------------- which tensors


@every_cell
@every_direction
@every_head
def test_the_decoder_gets_what_its_head_declares(
    head: str, options: dict[str, Any], cell: str, proj: int, two: bool
) -> None:
    task, batch = seq2seq(head, cell, proj, two, head_options=options, dropout=0.2), pairs()
    finals = ("h_n", "c_n") if cell == "lstm" else ("h_n",)
    expected = finals if head == "final_state" else ("output", *finals)
    seen = trace(task, batch)
    assert set(task.head.reads) == set(seen.reads) == set(expected)
    # every layer and direction of h_n and c_n, and of `output` every step that is there
    for name in finals:
        assert bool((seen.cells[name] > 0).all()), name
    steps = batch.mask.unsqueeze(-1).expand_as(seen.output)
    assert torch.equal(seen.output > 0, steps if head == "attention" else torch.zeros_like(steps))


@pytest.mark.slow
@every_cell
@every_direction
@every_head
def test_no_combination_has_a_finding(
    head: str, options: dict[str, Any], cell: str, proj: int, two: bool
) -> None:
    task, batch = seq2seq(head, cell, proj, two, head_options=options, dropout=0.2), pairs()
    model, more = task.as_function(), batch.target.inputs
    result = audit(model, batch.inputs, batch.lengths, "seq2seq", target_inputs=more)
    assert result.findings == []


@every_cell
@every_direction
@every_head
def test_the_function_of_a_task_gives_the_logits_that_the_loss_is_made_of(
    head: str, options: dict[str, Any], cell: str, proj: int, two: bool
) -> None:
    task, batch = seq2seq(head, cell, proj, two, head_options=options).eval(), pairs()
    logits = task.as_function()(batch.inputs, batch.lengths, batch.target.inputs)
    assert logits.shape == (len(LENGTHS), max(WRITTEN) + 1, W)
    torch.testing.assert_close(task(batch), logits)
    loss = F.cross_entropy(logits.flatten(0, 1), batch.target.targets.flatten(), ignore_index=-100)
    torch.testing.assert_close(task.loss_and_decision(batch)[0], loss)
    # a row alone, without padding, has the same ones
    for row, (length, written) in enumerate(zip(LENGTHS, WRITTEN, strict=True)):
        alone = task.as_function()(
            batch.inputs[row : row + 1, :length],
            batch.lengths[row : row + 1],
            batch.target.inputs[row : row + 1, : written + 1],
        )
        torch.testing.assert_close(alone[0], logits[row, : written + 1], rtol=0, atol=1e-5)


def test_states_of_equal_width_are_handed_over_as_they_are() -> None:
    assert not [*seq2seq("final_state").decoder.bridge.parameters()]
    assert [*seq2seq("final_state", decoder={"hidden_size": 5}).decoder.bridge.parameters()]


# ---------------------------------------------------------------- options


def trained_step(task: Seq2Seq) -> Tensor:
    task.split = "train"
    loss = task.train().step(pairs()).loss
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    return loss.detach()


def test_tied_logits_use_the_embedding_of_the_target() -> None:
    task = seq2seq(tied=True)
    weight = task.decoder.embedding.weight if hasattr(task.decoder.embedding, "weight") else None
    assert weight is None or weight.shape == (W, E)
    sizes = [tuple(p.shape) for p in task.parameters()]
    assert sizes.count((W, E)) == 1 and sizes.count((V, E)) == 1
    assert [tuple(p.shape) for p in seq2seq().parameters()].count((W, 2 * H)) == 1
    trained_step(task)


@pytest.mark.parametrize("tied", [False, True])
def test_a_shared_vocabulary_is_embedded_once(tied: bool) -> None:
    task = seq2seq(shared=True, tied=tied)
    assert task.decoder.embedding is task.embedding
    assert [tuple(p.shape) for p in task.parameters()].count((W, E)) == 1
    trained_step(task)


@pytest.mark.parametrize(
    "options",
    [
        {"scheduled_sampling": 0.9},
        {"label_smoothing": 0.3},
        {"dropout": 0.5, "locked_dropout": True},
        {"adversarial": 1.0},
        {"input_noise": 0.7},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_training_change_its_loss_and_not_that_of_the_evaluation(
    options: dict[str, Any],
) -> None:
    plain, task = seq2seq(), seq2seq(**options)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter *= 3  # far from uniform
    task.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    assert abs(float(trained_step(task) - trained_step(plain))) > 1e-3
    logits = [each.eval()(pairs()) for each in (task, plain)]
    torch.testing.assert_close(*logits)


def test_label_smoothing_is_that_of_pytorch() -> None:
    task, batch = seq2seq(label_smoothing=0.3), pairs()
    expected = F.cross_entropy(
        task(batch).flatten(0, 1), batch.target.targets.flatten(), label_smoothing=0.3
    )
    torch.testing.assert_close(trained_step(task), expected)


def test_locked_dropout_drops_the_same_features_at_all_steps_of_a_target() -> None:
    task = seq2seq(dropout=0.5, locked_dropout=True).train()
    dropout = task.decoder.dropout
    assert isinstance(dropout, LockedDropout)
    dropped = dropout(torch.ones(3, 4, 8)) == 0
    assert dropped.any() and torch.equal(dropped, dropped[:, :1].expand_as(dropped))


@pytest.mark.parametrize("beam", [1, 4])
def test_texts_are_written_the_same_alone_and_in_a_batch(beam: int) -> None:
    task, batch = seq2seq(length_penalty=0.7).eval(), pairs()
    whole = task.write(task.encode(batch), beam=beam, best=beam)
    for row, length in enumerate(LENGTHS):
        source = SequenceBatch(batch.inputs[row : row + 1, :length], batch.lengths[row : row + 1])
        alone = task.write(task.encode(source), beam=beam, best=beam)
        assert torch.equal(alone.tokens[0], whole.tokens[row])
        torch.testing.assert_close(alone.scores[0], whole.scores[row], rtol=0, atol=1e-5)


def test_the_score_of_a_text_is_that_of_its_teacher_forced_logits() -> None:
    task, batch = seq2seq(length_penalty=0.7).eval(), pairs()
    found = task.write(task.encode(batch), beam=3, best=3)
    for row, place in product(range(len(LENGTHS)), range(3)):
        length = int(found.lengths[row, place])
        # at the largest length, 2 * 6 + 1, there is no end token
        target = found.tokens[row, place, : length + 1]
        inputs = torch.cat([torch.tensor([SPEC["start"]]), target[:-1]])
        source, steps = batch.inputs[row : row + 1], batch.lengths[row : row + 1]
        source = source[:, : LENGTHS[row]]
        log_p = task.as_function()(source, steps, inputs[None]).log_softmax(-1)[0]
        total = log_p[range(len(target)), target].sum()
        score = total / len(target) ** 0.7
        torch.testing.assert_close(found.scores[row, place], score, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- whole runs

OWN = (
    "model=seq2seq",
    "data=pairs",
    "data.train=train.tsv",
    "data.batch_size=16",
    "model.encoder.hidden_size=16",
    "model.embedding_size=8",
    "trainer=cpu",
    "trainer.max_epochs=4",
    "trainer.log_every_n_steps=5",
    "baseline=false",
    "callbacks.dataflow=null",
)
LEARNING = ("model.dropout=0.0", "model.optimizer.lr=0.03", "trainer.max_epochs=20")


@pytest.fixture
def train_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Short texts of four letters, and the same read from their end."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    texts = {"".join(random.choice([*"abcd"], random.integers(2, 5))) for _ in range(600)}
    path = tmp_path / "train.tsv"
    rows = [f"{text}\t{text[::-1]}" for text in sorted(texts)]
    path.write_text("\n".join(["source\ttarget", *rows]) + "\n")
    return path


@pytest.fixture
def learned(script: Script, tmp_path: Path, train_file: Path) -> Path:
    """A finished run that reverses texts, tested with a beam of 3."""
    folder = tmp_path / "run"
    done = script("train.py", *OWN, *LEARNING, "model.beam=3", f"folder={folder}")
    assert done.returncode == 0, done.stderr
    return folder


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_it_learns_is_evaluated_and_writes(script: Script, tmp_path: Path, learned: Path) -> None:
    metrics = json.loads((learned / "result.json").read_text())["metrics"]
    assert metrics["test/exact_match"] > 0.9
    assert metrics["test/word_error_rate"] == pytest.approx(1 - metrics["test/exact_match"])
    assert metrics["test/perplexity"] == pytest.approx(math.exp(metrics["test/loss"]), rel=1e-5)
    done = script("evaluate.py", f"run={learned}", "accelerator=cpu")
    assert done.returncode == 0, done.stderr
    again = load_run(learned).evaluate(accelerator="cpu")
    assert again == pytest.approx({k: v for k, v in metrics.items() if k.startswith("test/")})

    # without Hydra and data, and with nothing but the checkpoint
    task = Seq2Seq.load_from_checkpoint(learned / "checkpoints" / "best.ckpt").eval()
    run = load_run(learned)
    texts = ["abcd", "d", "ba", "aabb", "dcab"]
    written = task.describe(run.data.batch_of(texts))
    assert [row["target"] for row in written][:1] == ["dcba"]

    # one after the other as they come, and all at once, are the same
    predict = ("predict.py", f"run={learned}", "input=-", "accelerator=cpu")
    together = script(*predict, stdin="\n".join(texts) + "\n")
    assert together.returncode == 0, together.stderr
    alone = [row for text in texts for row in lines(script(*predict, stdin=text + "\n").stdout)]
    for one, row, by_hand in zip(lines(together.stdout), alone, written, strict=True):
        assert one["target"] == row["target"] == by_hand["target"]
        assert one["score"] == pytest.approx(row["score"], abs=1e-5)
