"""A tag for every step: which tensor, which loss, which metrics."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.tasks import Tagger

B, T, V, H, TAGS = 4, 7, 11, 5, ["NN", "VB", "O"]
LENGTHS = [7, 2, 5, 1]


def tagger(tags: list[str] = TAGS, **options: Any) -> Tagger:
    torch.manual_seed(0)
    data = {"inputs": "tokens", "num_inputs": V, "classes": tags}
    encoder = {"hidden_size": H, **options.pop("encoder", {})}
    return Tagger(data, encoder, **options).eval()


def batch_of(tags: int = len(TAGS), lengths: list[int] = LENGTHS, seed: int = 0) -> SequenceBatch:
    generator = torch.Generator().manual_seed(seed)
    shape, steps = (len(lengths), max(lengths)), torch.tensor(lengths)
    inputs = torch.randint(2, V, shape, generator=generator)
    targets = torch.randint(tags, shape, generator=generator)
    return SequenceBatch(
        inputs, steps, targets.masked_fill(~SequenceBatch(inputs, steps).mask, -100)
    )


@pytest.mark.parametrize(("bidirectional", "directions"), [(None, 2), (False, 1)])
def test_every_step_of_output_gives_a_tag(bidirectional: bool | None, directions: int) -> None:
    task, batch = tagger(encoder={"bidirectional": bidirectional}), batch_of()
    packed = pack_padded_sequence(
        task.embedding(batch.inputs), batch.lengths, batch_first=True, enforce_sorted=False
    )
    output, _ = pad_packed_sequence(task.encoder.rnn(packed)[0], batch_first=True)
    assert output.shape == (B, T, directions * H)
    project = task.head.output.project
    expected = output @ project.weight.T + project.bias
    torch.testing.assert_close(task(batch), expected)
    loss = F.cross_entropy(expected.flatten(0, 1), batch.targets.flatten(), ignore_index=-100)
    torch.testing.assert_close(task.step(batch).loss, loss)


def test_a_step_weighs_as_many_targets_as_it_knows() -> None:
    batch = batch_of()
    targets = batch.targets.clone()
    targets[0, 3] = targets[2, 1] = -100
    step = tagger().step(SequenceBatch(batch.inputs, batch.lengths, targets))
    assert step.weight == sum(LENGTHS) - 2
    assert step.predictions.shape == step.targets.shape == (B, T + 1)


def test_a_prediction_is_a_tag_for_each_step_of_a_row() -> None:
    task, batch = tagger(), batch_of()
    described = task.predict_step(SequenceBatch(batch.inputs, batch.lengths))
    json.dumps(described)
    best = task(batch).argmax(-1).tolist()
    expected = [[TAGS[tag] for tag in row[:n]] for row, n in zip(best, LENGTHS, strict=True)]
    assert [row["tags"] for row in described] == expected


def test_class_weights_are_one_for_each_tag() -> None:
    weights = [1.0, 2.0, 0.5]
    task, batch = tagger(class_weights=weights, label_smoothing=0.1), batch_of()
    expected = F.cross_entropy(
        task(batch).flatten(0, 1), batch.targets.flatten(), weight=torch.tensor(weights)
    )
    torch.testing.assert_close(task.step(batch).loss, expected)
    with pytest.raises(
        UserError, match="class_weights has 1 numbers, but there are 3 tags: NN, VB"
    ):
        tagger(class_weights=[1.0])
