"""Sequence to sequence, from outside: which tensors feed the decoder, whole runs, and the study of
`examples/reversal.py`."""

from __future__ import annotations

import json
import math
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.audit import audit
from seqmodels.batch import UNKNOWN_ID, PairBatch, SequenceBatch
from seqmodels.dataflow import trace
from seqmodels.runs import load_run
from seqmodels.tasks.seq2seq import Seq2Seq
from seqmodels.tasks.seq2seq.pairs import teacher_forced
from tests.conftest import ROOT, Script, result_of, run_script
from tests.runs.resumed import resumes

pytestmark = pytest.mark.filterwarnings(
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning"
)

V, W, H, E, L = 11, 13, 6, 5, 2  # source tokens, target tokens, widths, layers
LENGTHS, WRITTEN = [7, 3, 1, 5], [2, 5, 1, 3]
SPEC = {"inputs": "tokens", "num_inputs": V, "num_targets": W, "start": 0, "end": 2, "longest": 6}

# whether it attends; cell, its projection, whether in two directions
KINDS = [
    (False, "lstm", 0, True),
    (False, "lstm", 4, False),
    (False, "gru", 0, True),
    (True, "lstm", 0, False),
    (True, "lstm", 4, True),
    (True, "rnn", 0, True),
    (True, "gru", 0, False),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def seq2seq(
    head: str = "attention", cell: str = "lstm", proj: int = 0, two: bool = True, **options: Any
) -> Seq2Seq:
    torch.manual_seed(0)
    encoder = {"cell": cell, "hidden_size": H, "num_layers": L, "bidirectional": two}
    encoder |= {"proj_size": proj} if proj else {}
    options = {"embedding": {"size": E}, **options}
    return Seq2Seq(SPEC, encoder, head, **options)


def of_kind(kind: tuple[bool, str, int, bool], **options: Any) -> Seq2Seq:
    attends, *network = kind
    return seq2seq("attention" if attends else "final_state", *network, **options)


def pairs() -> PairBatch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(3, V, (len(LENGTHS), max(LENGTHS)), generator=generator)
    for row, length in enumerate(LENGTHS):
        inputs[row, length:] = 0
    written = [torch.randint(3, W, (n,), generator=generator) for n in WRITTEN]
    return PairBatch.of(SequenceBatch(inputs, torch.tensor(LENGTHS)), teacher_forced(written))


# ---------------------------------------------------------------- which tensors


@pytest.mark.slow
@every_kind
def test_the_decoder_gets_what_its_head_declares_and_the_audit_finds_nothing(kind: Any) -> None:
    task, batch = of_kind(kind, dropout=0.2), pairs()
    finals = ("h_n", "c_n") if kind[1] == "lstm" else ("h_n",)
    seen = trace(task.network, batch)
    expected = {"output", *finals} if kind[0] else {*finals}
    assert {*seen.reads} == expected
    # every layer and direction of h_n and c_n, and of `output` every step that is there
    for name in finals:
        assert bool((seen.cells[name] > 0).all()), name
    steps = batch.mask.unsqueeze(-1).expand_as(seen.output)
    assert torch.equal(seen.output > 0, steps if kind[0] else torch.zeros_like(steps))
    model, more = task.network, batch.target.inputs
    result = audit(model, batch.inputs, batch.lengths, "seq2seq", target_inputs=more)
    assert result.findings == []


@every_kind
def test_the_function_of_a_task_gives_the_logits_that_the_loss_is_made_of(kind: Any) -> None:
    task, batch = of_kind(kind).eval(), pairs()
    logits = task.network(batch.inputs, batch.lengths, batch.target.inputs)
    assert logits.shape == (len(LENGTHS), max(WRITTEN) + 1, W)
    torch.testing.assert_close(task(batch), logits)
    loss = F.cross_entropy(logits.flatten(0, 1), batch.target.targets.flatten(), ignore_index=-100)
    torch.testing.assert_close(task.score(batch).loss, loss)
    # a row alone, without padding, has the same ones
    for row, (length, written) in enumerate(zip(LENGTHS, WRITTEN, strict=True)):
        alone = task.network(
            batch.inputs[row : row + 1, :length],
            batch.lengths[row : row + 1],
            batch.target.inputs[row : row + 1, : written + 1],
        )
        torch.testing.assert_close(alone[0], logits[row, : written + 1], rtol=0, atol=1e-5)


# ---------------------------------------------------------------- options


def trained_step(task: Seq2Seq) -> Tensor:
    task.split = "train"
    loss = task.train().step(pairs()).score.loss
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    return loss.detach()


@pytest.mark.parametrize(
    "options",
    [
        {"output": {"label_smoothing": 0.3}},
        {"dropout": 0.5, "embedding": {"size": E, "dropout": 0.0}, "locked_dropout": True},
        {"embedding": {"size": E, "noise": 0.7}},
    ],
)
def test_options_of_training_change_its_loss_only(options: dict[str, Any]) -> None:
    plain, task = seq2seq(), seq2seq(**options)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter *= 3  # far from uniform
    task.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    assert abs(float(trained_step(task) - trained_step(plain))) > 1e-3
    torch.testing.assert_close(*(each.eval()(pairs()) for each in (task, plain)))


@pytest.mark.parametrize("beam", [1, 3])
def test_texts_and_scores_are_those_of_a_row_alone_and_of_its_teacher_forced_logits(
    beam: int,
) -> None:
    task, batch = seq2seq().eval(), pairs()
    found = task.network.write(task.network.encode(batch), beam)
    for row, place in product(range(len(LENGTHS)), range(beam)):
        source, steps = batch.inputs[row : row + 1, : LENGTHS[row]], batch.lengths[row : row + 1]
        alone = task.network.write(task.network.encode(SequenceBatch(source, steps)), beam)
        assert torch.equal(alone.tokens[0], found.tokens[row])
        # at the largest length, 2 * 6 + 1, there is no end token
        target = found.tokens[row, place, : int(found.lengths[row, place]) + 1]
        inputs = torch.cat([torch.tensor([SPEC["start"]]), target[:-1]])
        log_p = task.network(source, steps, inputs[None]).log_softmax(-1)[0]
        score = log_p[range(len(target)), target].sum() / len(target)
        for scores in (found.scores[row], alone.scores[0]):
            torch.testing.assert_close(scores[place], score, rtol=0, atol=1e-5)


def test_neither_start_nor_unknown_is_written() -> None:
    task = seq2seq().eval()
    bias = task.network.decoder.vocabulary.project.bias.data
    bias[[SPEC["start"], UNKNOWN_ID]], bias[SPEC["end"]] = 100.0, -1e9
    tokens = task.network.write(task.network.encode(pairs()), beam=1).tokens
    assert tokens.shape[2] == 2 * SPEC["longest"] + 1
    assert not {SPEC["start"], UNKNOWN_ID} & {*tokens.unique().tolist()}


# ---------------------------------------------------------------- whole runs

OWN = (
    *("model=seq2seq", "model.encoder.hidden_size=12", "model.embedding.size=8"),
    *("data=pairs", "data.train=train.tsv", "data.batch_size=16"),
    *("trainer=cpu", "trainer.max_epochs=4", "trainer.log_every_n_steps=5"),
    *("baseline=false", "callbacks.dataflow=null"),
)
LEARNING = ("model.dropout=0.0", "model.optimizer.lr=0.03", "trainer.max_epochs=15")
TEXTS = ["abcd", "d", "ba", "aabb", "dcab"]


def write_pairs(folder: Path) -> Path:
    """Short texts of four letters, and the same read from their end."""
    random = np.random.default_rng(0)
    texts = {"".join(random.choice([*"abcd"], random.integers(1, 5))) for _ in range(600)}
    rows = [f"{text}\t{text[::-1]}" for text in sorted(texts)]
    path = folder / "train.tsv"
    path.write_text("\n".join(["source\ttarget", *rows]) + "\n")
    return path


@pytest.fixture
def train_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_pairs(tmp_path)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned to reverse texts, tested with a beam of 3."""
    place = tmp_path_factory.mktemp("learned")
    words = (*OWN, *LEARNING, "model.beam=3", f"folder={place / 'run'}")
    own = f"data.train={write_pairs(place)}"
    run_script(place, "train.py", *words, own)
    return place / "run"


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_learns_to_reverse_texts_and_is_evaluated_as_it_was_tested(learned: Path) -> None:
    metrics, run = result_of(learned)["metrics"], load_run(learned)
    assert metrics["test/exact_match"] > 0.9
    assert metrics["test/perplexity"] == pytest.approx(math.exp(metrics["test/loss"]), rel=1e-5)
    again = run.evaluate(accelerator="cpu")
    assert again == pytest.approx({k: v for k, v in metrics.items() if k.startswith("test/")})
    # a checkpoint alone is enough to write
    task = Seq2Seq.load_from_checkpoint(learned / "checkpoints" / "best.ckpt").eval()
    written = [row["target"] for row in task.predict_step(run.data.batch_of(TEXTS))]
    assert written == [row["target"] for row in run.predict(TEXTS)]
    assert sum(text == source[::-1] for source, text in zip(TEXTS, written, strict=True)) >= 4


def test_predictions_are_the_best_texts_the_same_one_by_one(script: Script, learned: Path) -> None:
    predict = ("predict.py", f"run={learned}", "input=-", "accelerator=cpu")
    together = lines(script(*predict, stdin="\n".join(TEXTS) + "\n"))
    for source, row in zip(TEXTS, together, strict=True):
        [alone] = lines(script(*predict, stdin=f"{source}\n"))
        assert row["target"] == alone["target"]
        assert row["score"] == pytest.approx(alone["score"], abs=1e-5)
    [more] = lines(script(*predict, "beam=4", stdin=f"{TEXTS[0]}\n"))
    assert more["target"] == together[0]["target"]


def test_each_written_token_attends_to_the_source(learned: Path) -> None:
    run = load_run(learned)
    run.data.setup()
    [batch, *_] = run.data.split_loader("test")
    right = [texts[0] for texts in batch.references[:4]]
    sources = [text[::-1] for text in right]
    written = run.predict(sources)
    for source, row, weights in zip(sources, written, run.attention(sources), strict=True):
        assert row["target"] == source[::-1] and weights.shape == (len(source) + 1, len(source))
        torch.testing.assert_close(weights.sum(1), torch.ones(len(source) + 1))
        [alone] = run.attention([source])
        torch.testing.assert_close(weights, alone, rtol=0, atol=1e-5)
    h_n = run.network.encode(batch).h_n[-1].transpose(0, 1).flatten(1)[:4]
    torch.testing.assert_close(run.encode(sources, "h_n"), h_n, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("train_file")
def test_it_resumes_bit_for_bit(script: Script, tmp_path: Path) -> None:
    resumes(script, tmp_path, *OWN, "model.dropout=0.2", step=28)


# ---------------------------------------------------------------- letters to be written backwards


EXAMPLES = ("--config-dir", str(ROOT / "examples" / "configs"))


@pytest.mark.usefixtures("examples_importable")
def test_the_study_trains_with_each_head(script: Script, tmp_path: Path) -> None:
    quick = ("trainer=cpu", "trainer.max_steps=3", "data.sizes=[40,8,8]", "data.length=5", "seed=0")
    place = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    script("train.py", "-m", *EXAMPLES, "experiment=study_bridge", *quick, place)
    jobs = sorted((tmp_path / "sweep").glob("*head-*"))
    assert len(jobs) == 2
    assert all("test/exact_match" in result_of(job)["metrics"] for job in jobs)
