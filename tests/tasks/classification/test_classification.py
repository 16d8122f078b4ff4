"""A class for each sequence: its logits, its loss, adversarial training, and whether what a test
leaves for each row is enough to score it again."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)
from torch import Tensor
from torch.nn import functional as F

from seqmodels.batch import PADDING_ID, UNKNOWN_ID, UNSEEN_TARGET, SequenceBatch
from seqmodels.data.loading import collate
from seqmodels.engine.class_task import class_scores, class_sums
from seqmodels.errors import UserError
from seqmodels.runs import load_run
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Script, result_of
from tests.make import batch_for, build_task
from tests.measured import measured_of
from tests.predictions import mean_loss, rows_of, table_of

FEATURES = {"inputs": "features", "num_inputs": 5, "classes": ["a", "b", "c"], "preprocessor": {}}
TOKENS = {"inputs": "tokens", "num_inputs": 11, "classes": ["a", "b", "c"], "preprocessor": {}}
LENGTHS = [6, 1, 4, 6, 2, 5, 3]


def test_logits_equal_the_parts_put_together_by_hand() -> None:
    task = build_task(SequenceClassifier, TOKENS, "last_hidden", embedding={"size": 9})
    batch = batch_for(task, LENGTHS)
    batch.inputs[0, :2] = torch.tensor([PADDING_ID, UNKNOWN_ID])  # These are tokens, too.
    for row, length in enumerate(batch.lengths):
        embedded = task.network.embedding.weight[batch.inputs[row, :length]]
        _, (h_n, _) = task.network.encoder.rnn(embedded.unsqueeze(0))
        expected = (
            h_n[-1, 0] @ task.network.head.output.project.weight.T
            + task.network.head.output.project.bias
        )
        assert torch.allclose(task(batch)[row], expected, atol=1e-6)


def test_features_are_projected_if_asked_and_noisy_in_training_only() -> None:
    task = build_task(SequenceClassifier, FEATURES, embedding={"size": 8, "noise": 0.5})
    batch = batch_for(task, LENGTHS)
    torch.testing.assert_close(task.network.embed(batch), task.network.embedding[1](batch.inputs))
    task = build_task(SequenceClassifier, FEATURES, embedding={"noise": 0.5})
    batch = SequenceBatch(torch.zeros(50, 40, 5), torch.full((50,), 40), torch.zeros(50).long())
    assert task.train().network.embed(batch).std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(task.eval().network.embed(batch), batch.inputs)


def test_hidden_words_read_as_the_unknown_token_in_training_only() -> None:
    task = build_task(SequenceClassifier, {**TOKENS, "num_inputs": 1000}, embedding={"noise": 0.25})
    tokens = torch.arange(1000).repeat(2, 1)
    batch = SequenceBatch(tokens, torch.full((2,), 1000))
    weights, unknown = task.network.embedding.weight, task.network.embedding.weight[1]
    embedded = task.train().network.embed(batch)
    hidden = (embedded == unknown).all(dim=-1)
    assert hidden[:, 2:].float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert torch.equal(hidden[0], hidden[1])  # a word is hidden wherever it stands
    assert not hidden[:, 0].any()  # padding
    assert torch.equal(embedded[~hidden], weights[tokens][~hidden])
    assert torch.equal(task.eval().network.embed(batch), weights[tokens])


@pytest.mark.parametrize("weights", [[1.0, 1e308, 1.0], {"c": 1e16}])
def test_a_weight_of_a_class_is_one_that_a_loss_can_hold(weights: object) -> None:
    with pytest.raises(
        UserError, match=r"class_weights\.[1c]=.*: input should be less than or equal"
    ):
        build_task(SequenceClassifier, FEATURES, output={"class_weights": weights})


def test_loss_is_weighted_and_smoothed_in_training_and_plain_in_evaluation() -> None:
    output = {"class_weights": [1.0, 2.0, 5.0], "label_smoothing": 0.2}
    task = build_task(SequenceClassifier, FEATURES, output=output)
    batch = batch_for(task, LENGTHS)
    weights = torch.tensor([1.0, 2.0, 5.0])[batch.targets]
    smoothed, plain = (
        F.cross_entropy(task(batch), batch.targets, reduction="none", label_smoothing=smoothing)
        for smoothing in (0.2, 0.0)
    )
    learned = task.train().training_step(batch)
    measured = task.eval().step(batch).score.loss
    torch.testing.assert_close(learned, (smoothed * weights).sum() / weights.sum())
    torch.testing.assert_close(measured, (plain * weights).sum() / weights.sum())


def test_a_class_that_is_predicted_and_never_there_counts_in_macro_f1() -> None:
    predicted, targets = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 1, 1, 1])
    found = class_scores(class_sums(predicted, targets, 4)["classes"])["macro_f1"].item()
    assert found == pytest.approx(f1_score(targets, predicted, average="macro"))


def test_a_class_that_training_never_saw_is_wrong_and_has_no_loss() -> None:
    task = build_task(SequenceClassifier, FEATURES)
    batches = [batch_for(task, LENGTHS[: 3 + n], seed=n) for n in range(5)]
    for batch in batches[:4]:
        batch.targets[::3] = UNSEEN_TARGET
    batches[4].targets[:] = UNSEEN_TARGET  # a batch without any loss
    found = measured_of(task, *batches)
    logits = torch.cat([task(batch) for batch in batches]).detach()
    targets = torch.cat([batch.targets for batch in batches])
    known, predicted = targets >= 0, logits.argmax(1)
    assert found["accuracy"] == pytest.approx(accuracy_score(targets, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    loss = F.cross_entropy(logits[known], targets[known]).item()  # not the mean of batch means
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    confused = task.count(predicted, targets)["confusion"]  # of a test
    assert (
        confused[:3, :3].tolist() == confusion_matrix(targets, predicted, labels=[0, 1, 2]).tolist()
    )
    assert confused[3].sum() == (~known).sum()


def test_batches_without_targets_are_for_prediction_only() -> None:
    task = build_task(SequenceClassifier, FEATURES)
    batch = batch_for(task, LENGTHS)
    bare = SequenceBatch(batch.inputs, batch.lengths)
    described = task.predict_step(bare)
    json.dumps(described)
    probabilities = torch.tensor([list(row["probabilities"].values()) for row in described])
    torch.testing.assert_close(probabilities, task(bare).softmax(1).detach())
    assert [row["label"] for row in described] == ["abc"[n] for n in task(bare).argmax(1)]
    with pytest.raises(ValueError, match="no targets to learn from: use predict_step"):
        task.training_step(bare)


# ---------------------------------------------------------------- adversarial training


SPECS = {
    "tokens": {"inputs": "tokens", "num_inputs": 40, "classes": ["a", "b", "c"]},
    "features": {"inputs": "features", "num_inputs": 4, "classes": ["a", "b", "c"]},
}


def task_and_batch(kind: str, **options: Any) -> tuple[SequenceClassifier, SequenceBatch]:
    torch.manual_seed(0)
    task = SequenceClassifier(SPECS[kind], {"hidden_size": 7}, "max_pool", **options)
    rows = [
        torch.randn(length, 4) if kind == "features" else torch.randint(2, 40, (length,))
        for length in (3, 6, 1, 5)
    ]
    return task, collate(rows, targets=torch.tensor([0, 1, 2, 0]))


def losses(task: SequenceClassifier, embedded: Tensor, batch: SequenceBatch) -> Tensor:
    logits = task.network.head(task.network.read(embedded, batch.lengths))
    return F.cross_entropy(logits, batch.targets, reduction="none")


@pytest.mark.parametrize("kind", SPECS)
def test_the_loss_is_the_mean_of_both_and_learns_from_both(kind: str) -> None:
    task, batch = task_and_batch(kind, adversarial=0.5)
    plain, _ = task_and_batch(kind)
    score = task.score(batch)
    assert not batch.inputs.requires_grad  # it is the batch of callbacks, too
    embedded = plain.network.embed(batch).requires_grad_()
    clean = losses(plain, embedded, batch)
    [slopes] = torch.autograd.grad(clean.mean(), embedded, retain_graph=True)
    move = 0.5 * slopes / slopes.flatten(1).norm(dim=1)[:, None, None]
    expected = (clean + losses(plain, embedded + move, batch)) / 2
    assert torch.allclose(score.costs, expected) and (score.costs > clean).all()
    score.loss.backward()
    expected.mean().backward()
    for (name, one), other in zip(task.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6), name


@pytest.mark.parametrize("kind", SPECS)
def test_no_other_move_of_that_norm_raises_the_loss_more(kind: str) -> None:
    task, batch = task_and_batch(kind, adversarial=0.01)
    embedded = task.network.embed(batch).detach()
    before = losses(task, embedded, batch)
    raised = 2 * (task.score(batch).costs - before)
    for _ in range(100):
        move = torch.randn_like(embedded) * batch.mask.unsqueeze(-1)
        move = 0.01 * F.normalize(move.flatten(1)).view_as(move)
        assert bool((losses(task, embedded + move, batch) - before < raised).all())


def test_only_training_is_adversarial() -> None:
    task, batch = task_and_batch("tokens", adversarial=0.5)
    task.eval()
    with torch.no_grad():
        loss = task.score(batch).loss
        assert torch.allclose(loss, F.cross_entropy(task(batch), batch.targets))


# ---------------------------------------------------------------- the rows of a test


TRAIN = ("train.py", "data=text", "model.head=max_pool", "trainer=cpu", "trainer.max_epochs=2")


@pytest.fixture
def tested(reviews: Path, script: Script, tmp_path: Path) -> list[dict[str, str]]:
    """The rows of a test, of which two have a label that training never saw."""
    texts = reviews.read_text().splitlines()[1:]
    test = ["text,label", *texts[::3], '"so, a ""new"" one",odd', "what\ta film,odder"]
    (tmp_path / "test.csv").write_text("\n".join(test) + "\n")
    files = (f"data.train={reviews}", f"data.test={tmp_path / 'test.csv'}")
    script(*TRAIN, *files, "folder=run", "data.batch_size=8", "baseline=false")
    return [
        dict(zip(("text", "label"), pair))
        for pair in load_run(tmp_path / "run").data.read_file(str(tmp_path / "test.csv"))
    ]


def test_the_table_follows_from_the_rows(tested: list[dict[str, str]], tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    metrics = result_of(tmp_path / "run")["metrics"]
    assert [row["row"] for row in rows] == [*range(1, 1 + len(tested))]
    assert [row["input"] for row in rows] == [" ".join(each["text"].split()) for each in tested]
    unseen = {"odd", "odder"}
    labels = ["(never seen in training)" if e["label"] in unseen else e["label"] for e in tested]
    targets, predictions = ([row[name] for row in rows] for name in ("target", "prediction"))
    assert targets == labels
    again = {
        "test/accuracy": accuracy_score(targets, predictions),
        "test/macro_f1": f1_score(targets, predictions, average="macro"),
        "test/loss": mean_loss(rows, [row["loss"] is not None for row in rows]),
    }
    assert again == pytest.approx({name: metrics[name] for name in again}, abs=1e-6)
    by_class = precision_recall_fscore_support(
        targets, predictions, labels=sorted({*targets}), zero_division=0.0
    )
    expected = {name: of for name, *of in zip(sorted({*targets}), *by_class, strict=True)}
    found = {name: of for name, *of in table_of(tmp_path / "run" / "scores.csv")}
    assert found.keys() == expected.keys()
    for name, of in found.items():
        assert [*map(float, of)] == pytest.approx(expected[name], abs=1e-6)
    assert [row["loss"] is None for row in rows] == [label.startswith("(") for label in labels]
    best = load_run(tmp_path / "run").predict([each["text"] for each in tested], accelerator="cpu")
    for row, made in zip(rows, best, strict=True):
        assert row["prediction"] == made["label"]
        assert row["probability"] == pytest.approx(max(made["probabilities"].values()), abs=1e-6)


def test_evaluate_writes_them_beside_those_of_the_test(
    tested: list[dict[str, str]],
    script: Script,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    before = (run / "predictions.csv").read_bytes()
    done = script("evaluate.py", "run=run", "split=validation", "accelerator=cpu")
    made = run / "evaluations"
    assert (made / "validation_best" / "scores.csv").is_file()
    assert "validation by class" in done.stdout
    assert len(rows_of(made / "validation_best" / "predictions.csv")) == 6
    script("evaluate.py", "run=run", "accelerator=cpu", "batch_size=3")
    script("evaluate.py", "run=run", "accelerator=cpu", "checkpoint=last")
    assert (run / "predictions.csv").read_bytes() == before  # the training's own record
    ours = rows_of(made / "test_best" / "predictions.csv")
    for row, other in zip(ours, rows_of(run / "predictions.csv"), strict=True):
        assert row == pytest.approx(other, abs=1e-6)
    script("evaluate.py", "run=run", "file=test.csv", "accelerator=cpu", "predictions=false")
    assert not (made / "test.csv_best").exists()
    script("evaluate.py", "run=run", "file=test.csv", "accelerator=cpu")
    assert (made / "test.csv_best" / "predictions.csv").read_bytes() == before
    names = {"validation_best", "test_best", "test_last", "test.csv_best"}
    assert {each.name for each in made.iterdir()} == names


def test_evaluate_shows_the_metrics_where_nothing_can_be_written(
    tested: list[dict[str, str]], script: Script, tmp_path: Path
) -> None:
    evaluate, limit = ("evaluate.py", "run=run", "accelerator=cpu"), resource.RLIMIT_FSIZE
    shown, limits = script(*evaluate).stdout, resource.getrlimit(limit)
    older = (tmp_path / "run" / "evaluations" / "test_best" / "predictions.csv").read_bytes()
    resource.setrlimit(limit, (len(older) // 2, limits[1]))
    try:
        full = script(*evaluate)
    finally:
        resource.setrlimit(limit, limits)
    assert "test: largest losses" in shown
    rmtree(tmp_path / "run" / "evaluations")
    (tmp_path / "run" / "evaluations").touch()  # as on a disk to read only, no folder can be made
    for done in (full, script(*evaluate)):
        assert "│ accuracy │" in done.stdout and "largest losses" not in done.stdout  # the older
        assert "WARNING: the predictions are not written: " in done.stderr
