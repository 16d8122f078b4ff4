from __future__ import annotations

import json

import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from torch.nn import functional as F

from seqmodels.batch import UNSEEN_TARGET, SequenceBatch
from seqmodels.engine.class_task import class_scores, class_sums
from seqmodels.errors import UserError
from seqmodels.tasks.classification import SequenceClassifier
from tests.measured import measured_of

FEATURES = {"inputs": "features", "num_inputs": 5, "classes": ["a", "b", "c"], "preprocessor": {}}
TOKENS = {"inputs": "tokens", "num_inputs": 11, "classes": ["a", "b", "c"], "preprocessor": {}}


def batch_of(data: dict, rows: int = 7, time: int = 6, seed: int = 0) -> SequenceBatch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, time + 1, (rows,), generator=generator)
    inputs = (
        torch.randn(rows, time, data["num_inputs"], generator=generator)
        if data["inputs"] == "features"
        else torch.randint(data["num_inputs"], (rows, time), generator=generator)
    )
    return SequenceBatch(inputs, lengths, torch.randint(3, (rows,), generator=generator))


def classifier(data: dict = FEATURES, **options: object) -> SequenceClassifier:
    arguments = {"encoder": {"hidden_size": 4}, "optimizer": {"_target_": "torch.optim.SGD"}}
    return SequenceClassifier(data=data, **{**arguments, **options})  # type: ignore[arg-type]


def test_logits_equal_the_parts_put_together_by_hand() -> None:
    task = classifier(TOKENS, head="last_hidden", embedding={"size": 9}).eval()
    batch = batch_of(TOKENS)
    for row, length in enumerate(batch.lengths):
        embedded = task.network.embedding.weight[batch.inputs[row, :length]]
        _, (h_n, _) = task.network.encoder.rnn(embedded.unsqueeze(0))
        expected = (
            h_n[-1, 0] @ task.network.head.output.project.weight.T
            + task.network.head.output.project.bias
        )
        assert torch.allclose(task(batch)[row], expected, atol=1e-6)


def test_features_are_projected_if_asked_and_noisy_in_training_only() -> None:
    task, batch = classifier(embedding={"size": 8, "noise": 0.5}), batch_of(FEATURES)
    torch.testing.assert_close(
        task.eval().network.embed(batch), task.network.embedding[1](batch.inputs)
    )
    task = classifier(embedding={"noise": 0.5})
    batch = SequenceBatch(torch.zeros(50, 40, 5), torch.full((50,), 40), torch.zeros(50).long())
    assert task.train().network.embed(batch).std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(task.eval().network.embed(batch), batch.inputs)


def test_hidden_words_read_as_the_unknown_token_in_training_only() -> None:
    task = classifier(dict(TOKENS, num_inputs=1000), embedding={"noise": 0.25})
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
        classifier(output={"class_weights": weights})


def test_loss_is_weighted_and_smoothed_in_training_and_plain_in_evaluation() -> None:
    task = classifier(output={"class_weights": [1.0, 2.0, 5.0], "label_smoothing": 0.2})
    batch = batch_of(FEATURES)
    weights = torch.tensor([1.0, 2.0, 5.0])[batch.targets]
    smoothed, plain = (
        F.cross_entropy(task(batch), batch.targets, reduction="none", label_smoothing=smoothing)
        for smoothing in (0.2, 0.0)
    )
    learned, measured = task.training_step(batch), task.eval().step(batch).score.loss
    torch.testing.assert_close(learned, (smoothed * weights).sum() / weights.sum())
    torch.testing.assert_close(measured, (plain * weights).sum() / weights.sum())


def test_a_class_that_is_predicted_and_never_there_counts_in_macro_f1() -> None:
    predicted, targets = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 1, 1, 1])
    found = class_scores(class_sums(predicted, targets, 4)["classes"])["macro_f1"].item()
    assert found == pytest.approx(f1_score(targets, predicted, average="macro"))


def test_a_class_that_training_never_saw_is_wrong_and_has_no_loss() -> None:
    task = classifier().eval()
    batches = [batch_of(FEATURES, rows=3 + n, seed=n) for n in range(5)]
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
    task = classifier().eval()
    batch = batch_of(FEATURES)
    bare = SequenceBatch(batch.inputs, batch.lengths)
    described = task.predict_step(bare)
    json.dumps(described)
    probabilities = torch.tensor([list(row["probabilities"].values()) for row in described])
    torch.testing.assert_close(probabilities, task(bare).softmax(1).detach())
    assert [row["label"] for row in described] == ["abc"[n] for n in task(bare).argmax(1)]
    with pytest.raises(ValueError, match="no targets to learn from: use predict_step"):
        task.training_step(bare)
