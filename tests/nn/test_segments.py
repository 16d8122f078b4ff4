"""Long rows are read in segments: the results and the gradients are those of whole rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor, nn

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, build_head
from seqmodels.network import AdversarialNetwork, Network
from seqmodels.nn import segments
from seqmodels.nn.cell import CELLS, Cell
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.outputs import ClassOutput
from seqmodels.padding import valid_steps
from seqmodels.tasks.classification import SequenceClassifier
from tests.make import batch_for, build_task
from tests.shipped import exported

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

F, H, CLASSES = 3, 4, 5
POOLS = ("mean_pool", "max_pool", "concat_pool", "attention_pool")
HEADS_OF_ROWS = (*POOLS, "max_attention_pool", "last_hidden", "bidirectional_concat")


@pytest.fixture(autouse=True)
def own_cell() -> Iterator[None]:
    """`segmented_lstm`, a cell that is run step by step."""

    class OwnLSTM(Cell, nn.LSTMCell, name="segmented_lstm"):
        pass

    yield
    del CELLS["segmented_lstm"]


def network(
    head: str = "concat_pool", layers: int = 1, *, kind: Any = Network, **options: Any
) -> Any:
    """A network of random weights in float64, which reads features."""
    options = {"bidirectional": bool(HEADS[head].requires_bidirectional), **options}
    encoder = RecurrentEncoder(F, H, layers, **options)
    output = partial(ClassOutput, num_classes=CLASSES)
    return kind(nn.Identity(), encoder, build_head(head, encoder, output)).double()


def batch_of(lengths: list[int], *, constant: bool = False, more: int = 0) -> SequenceBatch:
    """Random rows with junk as padding, of which `more` steps stand after the longest row."""
    shape = (len(lengths), max(lengths) + more, F)
    inputs = torch.ones(shape) if constant else torch.randn(shape)
    inputs[~valid_steps(lengths, shape[1])] = torch.nan
    targets = torch.randint(CLASSES, (len(lengths),))
    return SequenceBatch(inputs.double(), torch.tensor(lengths), targets)


def gradients(model: Any, batch: SequenceBatch, segment: int | None) -> Tensor:
    """The loss and its gradients in the inputs and all weights, as one vector."""
    model.encoder.segment = segment
    embedded = batch.inputs.clone().requires_grad_()
    loss = model.score_embedded(embedded, batch).loss
    weights = [*model.parameters()]
    found = torch.autograd.grad(loss, [embedded, *weights], allow_unused=True)
    vectors = [loss.detach().flatten()]
    for leaf, gradient in zip([embedded, *weights], found, strict=True):
        vectors.append(torch.zeros_like(leaf).flatten() if gradient is None else gradient.flatten())
    return torch.cat(vectors)


def same(found: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    difference = (found - wanted).norm() / wanted.norm()
    assert difference <= tolerance, f"a relative difference of {difference:.1e}"


def random_model(seed: int) -> tuple[Any, SequenceBatch, int]:
    """A network, a batch and the size of a segment."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    head = draw.choice(HEADS_OF_ROWS)
    cell = draw.choice(["lstm", "gru", "rnn", "segmented_lstm"])
    options: dict[str, Any] = {"cell": cell, "packing": draw.choice(["auto", "packed", "padded"])}
    if cell == "lstm":
        options["proj_size"] = draw.choice([0, 2])
    if HEADS[head].requires_bidirectional is None:
        options["bidirectional"] = draw.choice([False, True])
    model = network(head, draw.choice([1, 1, 2, 3]), **options)
    time = draw.choice([2, 5, 17, 40])
    rows = draw.choice([1, 2, 6])
    lengths = [draw.randint(1, time) for _ in range(rows)]
    if draw.random() < 0.3:
        lengths = [time] * rows
    batch = batch_of(lengths, constant=draw.random() < 0.2, more=draw.choice([0, 3]))
    return model, batch, draw.choice([1, 2, 3, 7, 16, 39])


def check_random_models(seeds: range) -> None:
    for seed in seeds:
        model, batch, size = random_model(seed)
        whole = gradients(model, batch, None)
        same(gradients(model, batch, size), whole)
        model.encoder.segment = None
        states = model.encode(batch)
        model.encoder.segment = size
        states_of_segments = model.encode(batch)
        for name, tensor in states.tensors.items():
            torch.testing.assert_close(states_of_segments.tensors[name], tensor)


def test_gradients_and_states_are_those_of_whole_rows() -> None:
    check_random_models(range(40))


@pytest.mark.long
def test_gradients_and_states_of_300_models_are_those_of_whole_rows() -> None:
    check_random_models(range(1000, 1300))


def test_rows_up_to_a_segment_are_read_as_a_whole() -> None:
    encoder = RecurrentEncoder(F, H, segment=5)
    assert [encoder.segment_of(longest) for longest in (1, 5, 6)] == [None, None, 5]
    encoder = RecurrentEncoder(F, H, segment="auto")
    assert [encoder.segment_of(longest) for longest in (2000, 2001)] == [None, 1000]
    encoder = RecurrentEncoder(F, H, segment=None)
    assert encoder.segment_of(10**6) is None


def test_a_batch_without_rows_has_no_segments() -> None:
    encoder = RecurrentEncoder(F, H, segment=2)
    states = encoder(torch.zeros(0, 5, F), torch.zeros(0, dtype=torch.int64))
    assert states.output.shape == (0, 5, H)


@pytest.mark.parametrize("two", [False, True], ids=["one direction", "two directions"])
def test_a_given_state_and_the_final_one(two: bool) -> None:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(F, H, 2, bidirectional=two, segment=None).double()
    batch = batch_of([7, 11, 2])
    start = tuple(torch.randn(4 if two else 2, 3, H).double() for _ in range(2))
    whole = encoder(batch.inputs, batch.lengths, start)
    encoder.segment = 3
    found = encoder(batch.inputs, batch.lengths, start)
    for name, tensor in whole.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor)


@pytest.mark.parametrize("head", ["max_pool", "concat_pool"])
def test_a_maximum_that_several_steps_share_divides_its_gradient_among_them(head: str) -> None:
    torch.manual_seed(0)
    model = network(head, cell="rnn")
    # With these weights, `h` repeats its values exactly, within a segment and in several.
    for weight in model.encoder.parameters():
        weight.data.zero_()
    model.encoder.rnn.weight_ih_l0.data.fill_(0.3)
    batch = batch_of([10, 7], constant=True)
    batch.inputs[:, ::3] = -1.0
    assert (model.encode(batch).output[0].unique(dim=0)).shape[0] == 2
    whole = gradients(model, batch, None)
    for size in (1, 2, 3, 4, 9):
        same(gradients(model, batch, size), whole)


# ---------------------------------------------------------------- random numbers


@contextmanager
def kept_graph(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within: nothing is computed again."""

    def kept(run: Callable[..., Any], weights: Any, *tensors: Tensor) -> Any:
        return run(*tensors)

    with monkeypatch.context() as patch:
        patch.setattr(segments, "recomputed", kept)
        yield


@pytest.mark.parametrize("two", [False, True], ids=["one direction", "two directions"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "segmented_lstm"])
@pytest.mark.parametrize("lengths", [[9, 9], [3, 9, 1]], ids=str)
def test_what_is_computed_again_drops_the_same_features(
    two: bool, cell: str, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = network("concat_pool", 3, cell=cell, bidirectional=two, dropout=0.5)
    batch = batch_of(lengths)
    with kept_graph(monkeypatch):
        torch.manual_seed(1)
        wanted = gradients(model, batch, 4)
        numbers_after = torch.rand(3)
    torch.manual_seed(1)
    same(gradients(model, batch, 4), wanted)
    # The gradient leaves the random numbers of the next step as they are.
    assert torch.equal(torch.rand(3), numbers_after)
    torch.manual_seed(2)
    assert not torch.allclose(gradients(model, batch, 4), wanted)


@pytest.mark.parametrize("two", [False, True], ids=["one direction", "two directions"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "segmented_lstm"])
def test_a_locked_dropout_drops_the_same_features_in_all_segments(two: bool, cell: str) -> None:
    torch.manual_seed(0)
    options = {"cell": cell, "bidirectional": two, "dropout": 0.5, "locked_dropout": True}
    model = network("concat_pool", 3, **options)
    batch = batch_of([5, 12, 9, 1])
    torch.manual_seed(1)
    whole = gradients(model, batch, None)
    torch.manual_seed(1)
    same(gradients(model, batch, 4), whole)


@pytest.mark.parametrize("two", [False, True], ids=["one direction", "two directions"])
@pytest.mark.parametrize("head", POOLS)
def test_the_gradient_is_taken_in_the_type_of_the_step(head: str, two: bool) -> None:
    """Autocast is over when the gradient is taken."""
    torch.manual_seed(0)
    model = network(head, 2, bidirectional=two).float()
    batch = batch_of([30, 21])
    batch = SequenceBatch(batch.inputs.float(), batch.lengths, batch.targets)
    exact = gradients(model, batch, None)

    def in_bfloat16(segment: int | None) -> Tensor:
        model.encoder.segment = segment
        embedded = batch.inputs.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model.score_embedded(embedded, batch).loss
        found = torch.autograd.grad(loss, [embedded, *model.parameters()])
        return torch.cat([gradient.flatten().float() for gradient in (loss.detach(), *found)])

    whole, found = in_bfloat16(None), in_bfloat16(7)
    error_of_type = float((whole - exact).norm() / exact.norm())
    assert error_of_type > 1e-4  # bfloat16 was used
    assert float((found - exact).norm() / exact.norm()) < max(2 * error_of_type, 0.02)


def test_weights_in_bfloat16() -> None:
    torch.manual_seed(0)
    model = network("concat_pool")
    batch = batch_of([40, 33])
    exact = gradients(model, batch, None)
    low = SequenceBatch(batch.inputs.bfloat16(), batch.lengths, batch.targets)
    found = gradients(model.bfloat16(), low, 7).double()
    assert float((found - exact).norm() / exact.norm()) < 0.03


# ---------------------------------------------------------------- what a graph keeps


class Holder:
    """A tensor that a graph keeps; it is gone when the graph is."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # With its history, it would keep the graph.


def bytes_kept(model: Any, batch: SequenceBatch, segment: int | None) -> int:
    """What the graph of a loss keeps until the gradient is taken, besides inputs and weights."""
    model.encoder.segment = segment
    holders = WeakSet[Holder]()

    def keep(tensor: Tensor) -> Holder:
        holder = Holder(tensor)
        holders.add(holder)
        return holder

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda holder: holder.tensor):
        loss = model.score(batch).loss
    assert loss.requires_grad
    storages = [holder.tensor.untyped_storage() for holder in holders]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    for tensor in (batch.inputs, *model.parameters()):
        sizes.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(sizes.values())


@pytest.mark.parametrize("cell", ["lstm", "gru", "segmented_lstm"])
@pytest.mark.parametrize("head", [*POOLS, "last_hidden", "bidirectional_concat"])
def test_a_graph_keeps_a_small_part_of_a_step_for_each_segment(head: str, cell: str) -> None:
    model = network(head, cell=cell)
    batch = batch_of([400, 400])
    assert bytes_kept(model, batch, 100) < bytes_kept(model, batch, None) / 15


@pytest.mark.parametrize("head", ["max_attention_pool", "every_step"])
def test_a_head_that_needs_every_step_keeps_output_and_little_else(head: str) -> None:
    data = {"inputs": "features", "num_inputs": F, "classes": ["a", "b"], "tags": ["a", "b"]}
    task_class = exported("Tagger") if head == "every_step" else SequenceClassifier
    task = build_task(task_class, data, head, hidden_size=64)
    batch = batch_for(task, [400, 400])
    whole = bytes_kept(task.network, batch, None)
    assert bytes_kept(task.network, batch, 50) < whole / 2


# ---------------------------------------------------------------- what stands beside it


def test_adversarial_training_takes_the_gradient_of_the_inputs_first() -> None:
    torch.manual_seed(0)
    kind = partial(AdversarialNetwork, distance=0.5, window=None)
    model = network("concat_pool", kind=kind)
    batch = batch_of([9, 6])
    batch.inputs.nan_to_num_()
    same(gradients(model, batch, 4), gradients(model, batch, None), 1e-10)


def test_weights_that_are_frozen_or_changed_too_early() -> None:
    torch.manual_seed(0)
    model = network("attention_pool")
    model.encoder.segment = 3
    batch = batch_of([8, 5])
    model.encoder.rnn.requires_grad_(False)
    model.score(batch).loss.backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())
    assert all(bool(weight.grad.any()) for weight in model.head.hidden.parameters())

    model.encoder.rnn.requires_grad_()
    loss = model.score(batch).loss
    with torch.no_grad():
        model.encoder.rnn.weight_hh_l0.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_head_of_ones_own_reads_all_of_output() -> None:
    class Spread(HEADS["mean_pool"], name="spread_of_test"):  # type: ignore[misc]
        def select(self, states: Any) -> Tensor:
            return states.output.amax(1) - states.output.amin(1)

    try:
        torch.manual_seed(0)
        model = network("spread_of_test")
        batch = batch_of([9, 6])
        same(gradients(model, batch, 4), gradients(model, batch, None))
    finally:
        del HEADS["spread_of_test"]


def test_a_stream_of_long_pieces_pools_all_of_them() -> None:
    torch.manual_seed(0)
    model = network("concat_pool").eval()
    batch = batch_of([12, 12])
    whole = model(batch.inputs, batch.lengths)
    model.encoder.segment = 2
    carried: tuple[Tensor, ...] = ()
    for piece in batch.inputs.split(5, dim=1):
        lengths = torch.full((2,), piece.shape[1])
        states, carried = model.carry(SequenceBatch(piece, lengths), carried)
    torch.testing.assert_close(model.read_out(states, batch), whole)


@pytest.mark.parametrize("window", [None, 3])
def test_segments_beside_windows(window: int | None) -> None:
    data = {"inputs": "tokens", "num_inputs": 9, "classes": ["a", "b"]}
    build = partial(build_task, SequenceClassifier, data, window=window)
    assert build(encoder={"segment": "auto"}).network.encoder.segment == "auto"
    if window is None:
        assert build(encoder={"segment": 5}).network.encoder.segment == 5
        return
    with pytest.raises(UserError, match=r"model.encoder.segment=5 .* model.window=3"):
        build(encoder={"segment": 5})


@pytest.mark.parametrize("segment", [0, -3, "often", 2.5])
def test_a_wrong_size_is_named(segment: Any) -> None:
    with pytest.raises(UserError, match=r"encoder\.segment"):
        RecurrentEncoder(F, H, segment=segment)
