"""Sequence to sequence, from outside: which tensors feed the decoder, and whole runs."""

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
from seqmodels.errors import UserError
from seqmodels.nn.embedding import LockedDropout
from seqmodels.runs import load_run
from seqmodels.tasks.seq2seq import Seq2Seq
from seqmodels.tasks.seq2seq.attention_plot import attended
from seqmodels.tasks.seq2seq.pair_batches import teacher_forced
from seqmodels.tasks.seq2seq.task import MOST_TOKENS
from tests.conftest import Refused, Script, result_of, run_script
from tests.runs.resumed import resumes
from tests.runs.two_processes import train_as_one

pytestmark = pytest.mark.filterwarnings(
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning"
)

V, W, H, E, L = 11, 13, 6, 5, 2  # source tokens, target tokens, widths, layers
LENGTHS, WRITTEN = [7, 3, 1, 5], [2, 5, 1, 3]
SPEC = {"inputs": "tokens", "num_inputs": V, "num_targets": W, "start": 0, "end": 2, "longest": 6}

CELLS = [("lstm", 0), ("lstm", 4), ("gru", 0), ("rnn", 0)]
SCORES = ("general", "additive")
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
    options = {"embedding": {"size": E}, **options}
    return Seq2Seq(data, encoder, head, **options)


def pairs(references: bool = False) -> PairBatch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(3, V, (len(LENGTHS), max(LENGTHS)), generator=generator)
    for row, length in enumerate(LENGTHS):
        inputs[row, length:] = 0
    written = [torch.randint(3, W, (n,), generator=generator) for n in WRITTEN]
    return PairBatch.of(SequenceBatch(inputs, torch.tensor(LENGTHS)), teacher_forced(written))


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
    task = seq2seq(output={"tied": True})
    weight = task.decoder.embedding.weight if hasattr(task.decoder.embedding, "weight") else None
    assert weight is None or weight.shape == (W, E)
    sizes = [tuple(p.shape) for p in task.parameters()]
    assert sizes.count((W, E)) == 1 and sizes.count((V, E)) == 1
    assert [tuple(p.shape) for p in seq2seq().parameters()].count((W, 2 * H)) == 1
    trained_step(task)


@pytest.mark.parametrize("tied", [False, True])
def test_a_shared_vocabulary_is_embedded_once(tied: bool) -> None:
    task = seq2seq(shared=True, output={"tied": tied})
    assert task.decoder.embedding is task.embedding
    assert [tuple(p.shape) for p in task.parameters()].count((W, E)) == 1
    trained_step(task)


@pytest.mark.parametrize(
    "options",
    [
        {"output": {"label_smoothing": 0.3}},
        {"dropout": 0.5, "locked_dropout": True},
        {"embedding": {"size": E, "noise": 0.7}},
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
    task, batch = seq2seq(output={"label_smoothing": 0.3}), pairs()
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
    "model.encoder.hidden_size=12",
    "model.embedding.size=8",
    "trainer=cpu",
    "trainer.max_epochs=4",
    "trainer.log_every_n_steps=5",
    "baseline=false",
    "callbacks.dataflow=null",
)
LEARNING = ("model.dropout=0.0", "model.optimizer.lr=0.03", "trainer.max_epochs=15")
TEXTS = ["abcd", "d", "ba", "aabb", "dcab"]


def write_pairs(folder: Path, header: str = "source\ttarget") -> Path:
    """Short texts of four letters, and the same read from their end."""
    random = np.random.default_rng(0)
    texts = {"".join(random.choice([*"abcd"], random.integers(1, 5))) for _ in range(600)}
    rows = [f"{text}\t{text[::-1]}" for text in sorted(texts)]
    path = folder / "train.tsv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def train_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_pairs(tmp_path)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned to reverse texts, tested with a beam of 3."""
    place = tmp_path_factory.mktemp("learned")
    words = (*OWN, *LEARNING, "model.beam=3", "model.best=2", f"folder={place / 'run'}")
    own = f"data.train={write_pairs(place)}"
    run_script(place, "train.py", *words, own)
    return place / "run"


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_learns_to_reverse_texts_and_is_evaluated_as_it_was_tested(
    script: Script, learned: Path
) -> None:
    metrics = result_of(learned)["metrics"]
    assert metrics["test/exact_match"] > 0.9
    assert metrics["test/perplexity"] == pytest.approx(math.exp(metrics["test/loss"]), rel=1e-5)
    done = script("evaluate.py", f"run={learned}", "accelerator=cpu")
    again = load_run(learned).evaluate(accelerator="cpu")
    assert again == pytest.approx({k: v for k, v in metrics.items() if k.startswith("test/")})
    assert all(name.removeprefix("test/") in done.stdout for name in again)


def test_a_checkpoint_alone_is_enough_to_write(learned: Path) -> None:
    task = Seq2Seq.load_from_checkpoint(learned / "checkpoints" / "best.ckpt").eval()
    batch = load_run(learned).data.batch_of(TEXTS)
    written = [row["target"] for row in task.predict_step(batch)]
    assert written == [row["target"] for row in load_run(learned).predict(TEXTS)]
    assert sum(text == source[::-1] for source, text in zip(TEXTS, written, strict=True)) >= 4


def test_predictions_are_the_best_texts_the_same_one_by_one(script: Script, learned: Path) -> None:
    predict = ("predict.py", f"run={learned}", "input=-", "accelerator=cpu")
    together = lines(script(*predict, stdin="\n".join(TEXTS) + "\n"))
    assert len(together) == len(TEXTS)
    for source, row in zip(TEXTS, together, strict=True):
        [alone] = lines(script(*predict, stdin=f"{source}\n"))
        [other] = row["others"]
        assert (row["target"], other["target"]) == (alone["target"], alone["others"][0]["target"])
        assert row["score"] == pytest.approx(alone["score"], abs=1e-5)
        assert row["score"] > other["score"] and row["target"] != other["target"]


def test_beam_and_best_of_a_prediction_are_a_choice_of_their_own(
    script: Script, refused: Refused, learned: Path
) -> None:
    predict = ("predict.py", f"run={learned}", "input=-", "accelerator=cpu")
    usual = lines(script(*predict, stdin=f"{TEXTS[0]}\n"))
    [more] = lines(script(*predict, "best=4", stdin=f"{TEXTS[0]}\n"))
    [one] = lines(script(*predict, "best=1", "beam=1", stdin=f"{TEXTS[0]}\n"))
    assert len(more["others"]) == 3 and len(usual[0]["others"]) == 1
    assert "others" not in one and one["target"] == usual[0]["target"]
    line = refused(*predict, "best=3", "beam=2", stdin=f"{TEXTS[0]}\n")
    assert line == "error: best is 3, but a beam of 2 finds at most 2 sequences: set beam=3"


def test_a_symbol_that_training_never_saw_is_unknown_and_most_of_a_file_are_noted(
    script: Script, learned: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = script("predict.py", f"run={learned}", "input=-", stdin="ab\naxb\n")
    assert len(done.stdout.splitlines()) == 2
    assert "unknown" not in caplog.text + done.stderr
    done = script("predict.py", f"run={learned}", "input=-", stdin="ax\nxx\n")
    said = caplog.text + done.stderr
    assert "-: 3 of 4 tokens (75.00 %) are unknown to the model: is this the right" in said


def test_an_unknown_symbol_is_never_written(learned: Path) -> None:
    run = load_run(learned)
    task: Any = run.task
    task.decoder.vocabulary.project.bias.data[UNKNOWN_ID] = 100.0  # the likeliest at every step
    states = task.encode(run.data.batch_of(["ab", "b"]))
    assert (task.write(states, beam=2, best=2).tokens != UNKNOWN_ID).all()


def test_the_picture_shows_what_each_written_token_attends_to(learned: Path) -> None:
    run = load_run(learned)
    run.data.setup()
    [batch, *_] = run.data.split_loader("test")
    panels = attended(run.task, batch)
    known = 0
    for (read, made, weights), [right] in zip(panels, batch.references, strict=True):
        assert [*read] == [*right[::-1]] and made[-1] == "end"
        assert weights.shape == (len(made), len(read))
        torch.testing.assert_close(weights.sum(1), torch.ones(len(made)))
        known += made[:-1] == [*right]
    assert known > 0.8 * len(panels)
    states = run.task.encode(batch)
    carried = run.task.decoder.carried(run.task.head.features(states))
    token = torch.full((len(batch), 1), run.task.decoder.start)
    _, _, first = run.task.decoder.read(token, carried)
    for row, (read, _, weights) in enumerate(panels):
        torch.testing.assert_close(weights[0], first[row, 0, : len(read)], rtol=0, atol=1e-5)
    assert (learned / "figures" / "attention.png").stat().st_size > 0
    sources = ["".join(read) for read, _, _ in panels]
    for found, (_, _, weights) in zip(run.attention(sources), panels, strict=True):
        torch.testing.assert_close(found, weights, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="head 'attention' gives a decoder several tensors: set "):
        run.encode(sources)
    h_n = states.h_n[-1].transpose(0, 1).flatten(1)
    torch.testing.assert_close(run.encode(sources, "h_n"), h_n, rtol=0, atol=1e-5)


def test_without_attention_there_is_no_such_picture(
    script: Script, tmp_path: Path, train_file: Path
) -> None:
    words = ("model.head=final_state", "trainer.max_epochs=1", f"folder={tmp_path / 'run'}")
    script("train.py", *OWN, *words)
    assert not (tmp_path / "run" / "figures" / "attention.png").exists()


@pytest.mark.usefixtures("train_file")
def test_it_resumes_bit_for_bit(script: Script, tmp_path: Path) -> None:
    resumes(script, tmp_path, *OWN, "model.dropout=0.2", step=28)


@pytest.mark.long  # that of a tagger is the short form
@pytest.mark.usefixtures("train_file")
def test_two_processes_train_and_score_as_one(
    script: Script, process: Script, tmp_path: Path
) -> None:
    own = (*OWN, "model.dropout=0.0", "model.embedding.noise=0.0", "model.optimizer.lr=0.01")
    train_as_one(script, process, tmp_path, *own, batch_size=16, rtol=1e-3)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["model.decoder.cell=gru"],
            "a decoder of gru cells cannot start from an encoder of lstm cells, because gru has no "
            "place for c_n: set model.decoder.cell=lstm",
        ),
        (
            ["model.decoder.cell=lstm", "model.encoder.cell=rnn"],
            "because rnn has no c_n: set model.decoder.cell=rnn",
        ),
        (["model.decoder.num_layers=3"], "they have 3 and 1: set model.decoder.num_layers=1"),
        (["model.decoder.dropout=1.5"], "model.decoder.dropout=1.5: input should"),
        (["+model.decoder.hiden=3"], "model.decoder.hiden"),
        (["model.beam=0"], "model.beam=0: input should"),
        (["model.best=0"], "model.best=0: input should"),
        (["model.longest=0"], "model.longest=0: input should"),
        (["model.longest=10001"], "model.longest=10001: input should"),
        (
            ["model.beam=2", "model.best=3"],
            "model.best is 3, and a beam finds at most model.beam=2",
        ),
        (["+model.head_options.score=cosine"], "model.head_options.score"),
        (
            ["+model.head_options.size=3"],
            "model.head_options.size is not an argument of AttendToOutput",
        ),
        (["model.output.tied=7"], "model.output.tied"),
        (["model.window=5"], "model.window is not a key of the configuration"),
        (
            ["model.head=last_hidden"],
            "model.head=last_hidden does not fit what this model predicts: choose one of attention",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("train_file")
def test_a_wrong_setting_is_one_line(
    refused: Refused, tmp_path: Path, words: list[str], message: str
) -> None:
    assert message in refused("train.py", *OWN, *words, "folder=run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("head", ["attention", "final_state"])
def test_a_classifier_has_no_decoder(refused: Refused, head: str) -> None:
    line = refused("train.py", f"model.head={head}")
    assert f"model.head={head} does not fit what this model predicts" in line


def test_data_without_texts_to_write_does_not_fit(refused: Refused) -> None:
    assert (
        "has a class for each sequence, and Seq2Seq learns a text for each sequence: choose data "
        "and model that fit, such as model=seq2seq data=pairs"
    ) in refused("train.py", "model=seq2seq", "data=japanese_vowels")


def test_a_model_that_never_ends_writes_a_bounded_text() -> None:
    task = seq2seq().eval()
    task.hparams["data"]["longest"] = 10**9  # as a stranger's checkpoint may say
    task.decoder.vocabulary.project.bias.data[SPEC["end"]] = -1e9
    assert task.write(task.encode(pairs()), beam=1).tokens.shape[2] == MOST_TOKENS


def test_the_recipe_says_which_data_to_give(refused: Refused, tmp_path: Path) -> None:
    line = refused("train.py", "experiment=seq2seq", "folder=run")
    assert line == "error: give either data.train=<file> or data.hub=<name>"
    assert not (tmp_path / "run").exists()
