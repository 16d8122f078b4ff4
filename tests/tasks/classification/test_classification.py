from __future__ import annotations

import json
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from seqmodels.batch import UNSEEN_TARGET, SequenceBatch
from seqmodels.errors import UserError
from seqmodels.heads import HEADS
from seqmodels.nn.embedding import FeatureNoise
from seqmodels.tasks.classification import SequenceClassifier
from tests.shipped import CLASSIFIER_HEADS

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


@pytest.mark.parametrize("head", CLASSIFIER_HEADS)
@pytest.mark.parametrize("data", [FEATURES, TOKENS], ids=["features", "tokens"])
def test_every_head_gets_the_directions_it_needs_and_gives_logits(head: str, data: dict) -> None:
    task = classifier(data, head=head)
    needs = HEADS[head].requires_bidirectional
    assert task.encoder.bidirectional is bool(needs)
    assert task(batch_of(data)).shape == (7, 3)


def test_logits_equal_the_parts_put_together_by_hand() -> None:
    task = classifier(TOKENS, head="last_hidden", embedding={"size": 9}).eval()
    batch = batch_of(TOKENS)
    for row, length in enumerate(batch.lengths):
        embedded = task.embedding.weight[batch.inputs[row, :length]]
        _, (h_n, _) = task.encoder.rnn(embedded.unsqueeze(0))
        expected = h_n[-1, 0] @ task.head.output.project.weight.T + task.head.output.project.bias
        assert torch.allclose(task(batch)[row], expected, atol=1e-6)


@pytest.mark.parametrize(("size", "kind"), [(None, FeatureNoise), (8, nn.Linear)])
def test_features_are_projected_if_asked(size: int | None, kind: type) -> None:
    task = classifier(embedding={"size": size})
    assert isinstance(task.embedding, kind)
    assert task.encoder.rnn.input_size == (size or 5)


def test_feature_noise_has_the_chosen_deviation_in_training_only() -> None:
    task = classifier(embedding={"noise": 0.5})
    batch = SequenceBatch(torch.zeros(50, 40, 5), torch.full((50,), 40), torch.zeros(50).long())
    noisy = task.train().embed(batch)
    assert noisy.std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(task.eval().embed(batch), batch.inputs)


def test_hidden_words_read_as_the_unknown_token_in_training_only() -> None:
    task = classifier(dict(TOKENS, num_inputs=1000), embedding={"noise": 0.25})
    tokens = torch.arange(1000).repeat(2, 1)
    batch = SequenceBatch(tokens, torch.full((2,), 1000))
    weights, unknown = task.embedding.weight, task.embedding.weight[1]
    embedded = task.train().embed(batch)
    hidden = (embedded == unknown).all(dim=-1)
    assert hidden[:, 2:].float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert torch.equal(hidden[0], hidden[1])  # a word is hidden wherever it stands
    assert not hidden[:, 0].any()  # padding
    assert torch.equal(embedded[~hidden], weights[tokens][~hidden])
    again = (task.embed(batch) == unknown).all(dim=-1)
    assert not torch.equal(again, hidden)
    assert torch.equal(task.eval().embed(batch), weights[tokens])


def test_loss_is_weighted_and_smoothed_in_training_and_plain_in_evaluation() -> None:
    task = classifier(output={"class_weights": [1.0, 2.0, 5.0], "label_smoothing": 0.2})
    batch = batch_of(FEATURES)
    weight = torch.tensor([1.0, 2.0, 5.0])
    smoothed = F.cross_entropy(task(batch), batch.targets, weight=weight, label_smoothing=0.2)
    plain = F.cross_entropy(task(batch), batch.targets, weight=weight)
    assert torch.equal(task.training_step(batch), smoothed)
    assert torch.equal(task.eval().step(batch).loss, plain)


class Batches(pl.LightningDataModule):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.batches = [batch_of(FEATURES, rows=3 + n, seed=n) for n in range(count)]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)

    val_dataloader = test_dataloader = train_dataloader


def trainer_for(folder: Path, **options: object) -> pl.Trainer:
    return pl.Trainer(
        **{  # type: ignore[arg-type]
            "default_root_dir": folder,
            "accelerator": "cpu",
            "max_epochs": 2,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        }
    )


quiet = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:.*is not configured|.*TPU"),
]
pytestmark = quiet


def test_metrics_equal_those_of_another_library(tmp_path: Path) -> None:
    task, data = classifier(), Batches(5)
    [metrics] = trainer_for(tmp_path).test(task, data, verbose=False)
    task.eval()
    logits = torch.cat([task(batch) for batch in data.batches]).detach()
    targets = torch.cat([batch.targets for batch in data.batches])
    predicted = logits.argmax(1)
    assert metrics["test/accuracy"] == pytest.approx(accuracy_score(targets, predicted))
    assert metrics["test/macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    loss = F.cross_entropy(logits, targets).item()  # of all samples, not the mean of batch means
    assert metrics["test/loss"] == pytest.approx(loss, rel=1e-5)
    expected = torch.zeros(3, 3).long()
    for target, prediction in zip(targets, predicted):
        expected[target, prediction] += 1
    assert torch.equal(task.sums["test"].totals["confusion"][:3, :3], expected)


def test_a_class_that_training_never_saw_is_wrong_and_has_no_loss(tmp_path: Path) -> None:
    task, data = classifier(), Batches(5)
    for batch in data.batches[:4]:
        batch.targets[::3] = UNSEEN_TARGET
    data.batches[4].targets[:] = UNSEEN_TARGET  # a batch without any loss
    [metrics] = trainer_for(tmp_path).test(task, data, verbose=False)
    task.eval()
    logits = torch.cat([task(batch) for batch in data.batches]).detach()
    targets = torch.cat([batch.targets for batch in data.batches])
    known, predicted = targets >= 0, logits.argmax(1)
    assert metrics["test/accuracy"] == pytest.approx(accuracy_score(targets, predicted))
    assert metrics["test/macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    loss = F.cross_entropy(logits[known], targets[known]).item()
    assert metrics["test/loss"] == pytest.approx(loss, rel=1e-5)
    assert task.sums["test"].totals["confusion"].sum(1)[3] == (~known).sum()


def test_a_loss_that_is_no_number_is_not_hidden_among_others(tmp_path: Path) -> None:
    task, data = classifier(), Batches(3)
    data.batches[1].inputs[0, 0] = torch.nan
    [metrics] = trainer_for(tmp_path).test(task, data, verbose=False)
    assert np.isnan(metrics["test/loss"])


def test_scheduler_goes_by_step_to_the_end_of_the_training(tmp_path: Path) -> None:
    task = classifier(
        optimizer={"_target_": "torch.optim.AdamW", "lr": 0.1},
        scheduler={
            "_target_": "torch.optim.lr_scheduler.LinearLR",
            "start_factor": 1.0,
            "end_factor": 0.25,
            "total_iters": "total_steps",
        },
    )
    trainer = trainer_for(tmp_path, max_epochs=3, accumulate_grad_batches=2)
    trainer.fit(task, Batches(5))
    assert trainer.global_step == 9
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.025)


def test_a_checkpoint_loads_safely_without_hydra_or_data(tmp_path: Path) -> None:
    task = classifier(TOKENS, head="attention_pool", head_options={"attention_size": 6})
    trainer = trainer_for(tmp_path, max_epochs=0)
    trainer.strategy.connect(task)
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    json.dumps(content["hyper_parameters"])  # plain values only
    loaded = SequenceClassifier.load_from_checkpoint(path, weights_only=True).eval()
    batch = batch_of(TOKENS)
    assert torch.equal(loaded(batch), task.eval()(batch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "model.dropout=1.0: input should"),
        ({"output": {"label_smoothing": -0.1}}, "model.output.label_smoothing=-0.1: input should"),
        ({"embedding": {"noise": -1.0}}, "model.embedding.noise=-1.0: input should"),
        (
            {"output": {"class_weights": [1.0]}},
            "model.output.class_weights has 1 numbers, but there are 3 classes: a",
        ),
        ({"encoder": {"hidden_size": 3, "size": 3}}, "model.encoder.size is not an argument"),
    ],
)
def test_mistakes_are_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        classifier(**options)


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


def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    # the class is the sign of the first feature at each row's own last step
    random = np.random.default_rng(0)
    lengths = torch.tensor(random.integers(1, 9, 64))
    inputs = torch.tensor(random.normal(size=(64, 8, 5)), dtype=torch.float32)
    targets = (inputs[torch.arange(64), lengths - 1, 0] > 0).long()
    data = Batches(1)
    data.batches = [SequenceBatch(inputs, lengths, targets)]
    pl.seed_everything(0, verbose=False)
    task = classifier(
        encoder={"hidden_size": 16}, optimizer={"_target_": "torch.optim.Adam", "lr": 0.03}
    )
    trainer = trainer_for(tmp_path, max_epochs=120, enable_checkpointing=False)
    trainer.fit(task, data)
    [metrics] = trainer.test(task, data, verbose=False)
    assert metrics["test/accuracy"] == 1.0
