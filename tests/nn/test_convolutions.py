"""Convolutions before the recurrent network see each row as if it stood alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seqmodels.audit import assert_clean
from seqmodels.batch import SequenceBatch
from seqmodels.data.loading import collate
from seqmodels.dataflow.table import tensor_table
from seqmodels.dataflow.tracing import trace
from seqmodels.errors import UserError
from seqmodels.nn.convolutions import Convolutions
from seqmodels.tasks.classification import SequenceClassifier
from tests.shipped import CLASSIFIER_HEADS, exported

LENGTHS = [11, 3, 1, 7, 2]
CLASSES = ["a", "b", "c"]
SPECS = {
    "tokens": {"inputs": "tokens", "num_inputs": 40, "classes": CLASSES},
    "features": {"inputs": "features", "num_inputs": 4, "classes": CLASSES},
}
EMBEDDING = {"convolutions": [7, 4], "channels": 6}


def rows(kind: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    if kind == "features":
        return [torch.randn(length, 4, generator=generator) for length in LENGTHS]
    return [torch.randint(2, 40, (length,), generator=generator) for length in LENGTHS]


def layers(width: int = 4) -> Convolutions:
    torch.manual_seed(1)
    found = Convolutions(width, 6, [7, 4])
    for norm in found.norms:
        nn.init.normal_(norm.bias)  # so that padding is not zero by itself
        norm.running_mean.normal_()
    return found


def task(kind: str, head: str = "concat_pool", window: int | None = None) -> SequenceClassifier:
    torch.manual_seed(1)
    made = SequenceClassifier(
        SPECS[kind],
        {"hidden_size": 5, "bidirectional": "if_possible"},
        head,
        embedding=EMBEDDING,
        window=window,
    )
    made.convolutions.load_state_dict(layers(128 if kind == "tokens" else 4).state_dict())
    return made.eval()


def test_a_row_gives_what_it_gives_alone_whatever_the_padding_holds() -> None:
    convolutions, batch = layers().eval(), collate(rows("features"))
    filled = batch.inputs.masked_fill(~batch.mask.unsqueeze(2), 1e6)
    found = convolutions(F.pad(filled, (0, 0, 0, 9), value=-1e6), batch.lengths)
    assert not found[:, max(LENGTHS) :].any()
    for number, row in enumerate(rows("features")):
        steps = row.T.unsqueeze(0)
        layers_of = (convolutions.convolutions, convolutions.norms)
        for size, layer, norm in zip([7, 4], *layers_of, strict=True):
            padded = F.pad(steps, ((size - 1) // 2, size // 2))
            steps = norm(F.conv1d(padded, layer.weight)).relu()
        assert torch.allclose(found[number, : len(row)], steps[0].T, atol=1e-6)
        assert not found[number, len(row) :].any()


def test_training_normalizes_by_the_valid_steps_alone() -> None:
    batch = collate(rows("features"))
    filled = batch.inputs.masked_fill(~batch.mask.unsqueeze(2), 1e6)
    wide, narrow = layers(), layers()
    found = wide(F.pad(filled, (0, 0, 0, 9), value=-1e6), batch.lengths)[:, : max(LENGTHS)]
    assert torch.allclose(found, narrow(batch.inputs, batch.lengths), atol=1e-6)
    convolved = layers().convolutions[0](F.pad(batch.inputs.transpose(1, 2), (3, 3)))
    steps = torch.cat([row[:, :size].T for row, size in zip(convolved, LENGTHS, strict=True)])
    expected = layers().norms[0]
    expected(steps)
    for made in (wide, narrow):
        assert torch.allclose(made.norms[0].running_mean, expected.running_mean, atol=1e-6)
        assert torch.allclose(made.norms[0].running_var, expected.running_var, atol=1e-6)


def test_gradients_reach_valid_steps_alone() -> None:
    batch = collate(rows("features"))
    inputs = batch.inputs.clone().requires_grad_()
    layers()(inputs, batch.lengths).square().sum().backward()
    assert inputs.grad is not None
    assert bool((inputs.grad.abs().sum(2) > 0).eq(batch.mask).all())


def test_one_step_in_all_is_normalized_as_in_evaluation() -> None:
    convolutions, one = layers(), torch.randn(1, 1, 4)
    found = convolutions(one, torch.tensor([1]))
    assert torch.equal(found, convolutions.eval()(one, torch.tensor([1])))


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("head", CLASSIFIER_HEADS)
def test_the_audit_finds_nothing(head: str, kind: str) -> None:
    batch = collate(rows(kind))
    assert_clean(task(kind, head).as_function(), batch.inputs, batch.lengths)


def test_windows_are_convolved_one_by_one() -> None:
    made, whole = task("features", window=5), task("features")
    [row] = collate(rows("features")[:1]).inputs
    found = made(SequenceBatch(row.unsqueeze(0), torch.tensor([11])))
    windows = torch.stack([row[start : start + 5] for start in (0, 3, 6)])
    logits = whole(SequenceBatch(windows, torch.tensor([5, 5, 5])))
    assert torch.allclose(found[0], logits.mean(dim=0), atol=1e-6)


def test_the_table_shows_what_the_encoder_reads() -> None:
    made, batch = task("features"), collate(rows("features"))
    traced = trace(made, batch)
    assert [*traced.shapes][:4] == ["inputs", "embedded", "convolved", "output"]
    assert traced.shapes["convolved"] == (5, 11, 6)
    assert "(B, T, channels)" in str([*tensor_table(made, traced).renderables[1].columns[1].cells])


def test_a_tagger_sees_the_neighbours_of_a_step() -> None:
    data = {"inputs": "features", "num_inputs": 4, "classes": CLASSES}
    encoder = {"hidden_size": 5, "bidirectional": False}
    made = exported("Tagger")(data, encoder, embedding=EMBEDDING)
    reaches = trace(made, collate(rows("features")[:1])).inputs[0] > 0  # steps, input steps
    assert torch.equal(reaches, torch.ones(11, 11).tril(3 + 2) > 0)


def test_a_model_that_predicts_what_comes_next_takes_none() -> None:
    data = {"inputs": "tokens", "num_inputs": 40, "vocabulary": []}
    with pytest.raises(UserError, match=r"have already seen: set model.embedding.convolutions=nul"):
        exported("LanguageModel")(data, {"hidden_size": 5}, embedding=EMBEDDING)
