"""Which steps of its input count for a prediction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad_vec
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.batch import SequenceBatch
from seqmodels.dataflow import attribute
from seqmodels.dataflow.steps import attributed, rough_rows
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.padding import masked_mean, valid_steps
from seqmodels.tasks import SequenceClassifier
from tests.networks import example_task
from tests.shipped import CLASSIFIER_HEADS, exported, fitting_directions

LENGTHS = torch.tensor([7, 1, 4, 6])
CELLS = ("lstm", "gru", "rnn")


class Packed(nn.Module):
    """A model of one's own, with dropout; its logits at every step end with the longest row."""

    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM, by_step: bool = False) -> None:
        super().__init__()
        self.rnn = cell(3, 8, batch_first=True, bidirectional=True)  # type: ignore[call-arg]
        self.drop, self.project, self.by_step = nn.Dropout(0.5), nn.Linear(16, 4), by_step
        for weight in self.parameters():
            weight.data *= 2

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.project(self.drop(output if self.by_step else masked_mean(output, lengths)))


def rows(seed: int = 0) -> Tensor:
    return 2 * torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- references


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_captum_gives_the_same_for_rows_of_one_length(cell: type[nn.RNNBase]) -> None:
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    model, inputs, lengths = Packed(cell).eval(), rows(), torch.full((4,), 9)
    classes = model(inputs, lengths).argmax(dim=1)
    reference = captum.IntegratedGradients(
        lambda steps: model(steps, torch.full((len(steps),), 9))  # it repeats rows, not lengths
    )
    for baseline in ([0.0, 0.0, 0.0], [0.5, -1.0, 2.0]):
        start = torch.tensor(baseline).expand_as(inputs)
        expected = reference.attribute(inputs, start, target=classes, n_steps=200)
        found = torch.stack(attribute(model, inputs, lengths, baseline=baseline))
        assert float(expected.abs().max()) > 0.05
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_an_integral_by_another_rule_and_another_slope_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SciPy's adaptive rule over central differences, one row at a time, in float64."""
    monkeypatch.setattr("seqmodels.dataflow.attribution.TOLERANCE", 1e-6)
    torch.manual_seed(0)
    model, inputs = Packed(by_step=True).eval(), rows()[:, :7]
    model.rnn.double(), model.project.double()
    of = 2
    with torch.no_grad():
        for row, end in ((0, 7), (2, 4)):
            way = inputs[row : row + 1, :end].double()

            def slopes(share: float, way: Tensor = way, end: int = end) -> np.ndarray:
                moves = 1e-5 * torch.eye(way.numel()).double().view(-1, *way.shape[1:])
                moved = torch.cat([share * way + moves, share * way - moves])
                logits = model(moved, torch.full((len(moved),), end))[:, -1, of]
                return (logits.view(2, -1).diff(dim=0)[0] / -2e-5).numpy()

            expected = quad_vec(slopes, 0, 1, epsabs=1e-8)[0] * way.flatten().numpy()
            found = attribute(model, inputs.double(), LENGTHS, of, -1)[row]
            assert found.flatten().numpy() == pytest.approx(expected, abs=1e-6)


def test_a_linear_model_over_the_mean_gives_shapley_values() -> None:
    """Each cell of a row is a player, and one that doesn't play is the baseline."""
    torch.manual_seed(0)
    project, baseline = nn.Linear(2, 3).double(), [0.3, -0.2]
    inputs, lengths = torch.randn(2, 4, 2).double(), [4, 2]

    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        return project(masked_mean(inputs, lengths))

    found = attribute(function, inputs, lengths, 1, baseline=baseline)
    start = torch.tensor(baseline).double().expand(4, 2)
    for row, end in enumerate(lengths):
        players, expected = [*range(2 * end)], torch.zeros(2 * end)
        value = {}
        for count in range(len(players) + 1):
            for some in combinations(players, count):
                plays = torch.zeros(8, dtype=torch.bool)
                plays[[*some]] = True
                played = inputs[row].where(plays.view(4, 2), start)
                value[some] = function(played[None], torch.tensor([end]))[0, 1].item()
        for some in value:
            for one in {*players} - {*some}:
                weight = len(players) * comb(len(players) - 1, len(some))
                gain = value[tuple(sorted((*some, one)))] - value[some]
                expected[one] += gain / weight
        assert found[row].flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-6)


# ---------------------------------------------------------------- any network, rows of any length


def random_task(seed: int) -> Task:
    """Of any cell, head, direction, depth, input and task, with large weights."""
    draw = np.random.default_rng(seed)
    pick: Callable[..., Any] = lambda *of: of[draw.integers(len(of))]  # noqa: E731
    head = pick(*CLASSIFIER_HEADS, "every_step")
    kinds = ("SequenceClassifier", "Regressor") if head != "every_step" else ("Tagger", "Regressor")
    encoder = {"cell": pick(*CELLS), "num_layers": pick(1, 2), "hidden_size": pick(4, 9)}
    encoder["bidirectional"] = pick(*fitting_directions(head))
    if encoder["cell"] == "lstm":
        encoder["proj_size"] = pick(0, 0, 3)
    data: dict[str, Any] = {"inputs": "features", "num_inputs": 3}
    if tokens := pick(True, False):
        data = {"inputs": "tokens", "num_inputs": 20}
        if pick(True, False):
            data["num_characters"] = 9
    kind = pick(*kinds)
    data |= {"values": ["a", "b"], "mean": [3.0, -5.0], "deviation": [2.0, 0.1]}
    if kind != "Regressor":
        data = {**data, "classes": ["a", "b", "c"]}
    of_tokens, of_features = {"size": pick(5, 6)}, {"size": pick(None, 4), "levels": pick(None, 7)}
    options: dict[str, Any] = {"embedding": of_tokens if tokens else of_features}
    if pick(True, False):
        options["embedding"] |= {"convolutions": [3], "channels": 4}
    if kind == "Regressor":
        options["output"] = {"quantiles": pick(None, [0.1, 0.5, 0.9])}
    elif kind == "Tagger" and pick(True, False):
        options["output"] = {"kind": "crf"}
    if head != "every_step":
        options["window"] = pick(None, 5)
    torch.manual_seed(seed)
    task = exported(kind)(data, encoder, head, dropout=0.3, **options)
    for weight in task.parameters():
        weight.data *= float(pick(1, 2, 4))
    return task.eval()


def random_batch(task: Task, seed: int) -> SequenceBatch:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (5,), generator=draw)
    data, time = task.hparams["data"], int(lengths.max())
    there = valid_steps(lengths, time)
    if data["inputs"] == "features":
        return SequenceBatch(torch.randn(5, time, 3, generator=draw) * there[..., None], lengths)
    tokens = torch.randint(1, 20, (5, time), generator=draw) * there
    if "num_characters" in data:
        letters = torch.randint(1, 9, (5, time, 4), generator=draw) * there[..., None]
        tokens = torch.cat([tokens[..., None], letters], dim=2)
    return SequenceBatch(tokens, lengths)


def assert_complete(seed: int) -> bool:
    """The steps of each row sum to the difference to a row of zeros, or of padding. Returns whether
    single steps are exact, too."""
    task = random_task(seed)
    batch = random_batch(task, seed)
    with torch.no_grad():
        zeros = SequenceBatch(torch.zeros_like(batch.inputs), batch.lengths)
        made, nothing = (
            task.network.head.decode(task.network.encode(each)) for each in (batch, zeros)
        )
        if made.is_floating_point():
            classes, logits = torch.zeros_like(made[..., 0]).long(), made.double()
        else:
            classes, logits, nothing = made, task(batch).double(), task(zeros).double()
    difference = (logits - nothing).gather(-1, classes.unsqueeze(-1)).squeeze(-1)
    if task.contract.per == "step":
        difference = masked_mean(difference, batch.lengths)
    found = attributed(task, batch, first=None)
    assert [len(row) for row in found] == batch.lengths.tolist()
    sums, size = torch.tensor([float(row.double().sum()) for row in found]), logits.abs().max()
    gap = difference - sums
    assert bool((gap.abs() <= 1e-5 * (difference.abs() + size)).all()), (seed, gap)
    for row in range(len(batch)):  # alone
        end = int(batch.lengths[row])
        inputs, lengths = batch.inputs[row : row + 1, :end], batch.lengths[row : row + 1]
        alone = attributed(task, SequenceBatch(inputs, lengths), first=None)
        if not rough_rows(alone):
            size = float(found[row].abs().max())
            torch.testing.assert_close(found[row], alone[0], rtol=0, atol=2e-3 * size + 1e-6)
    return not rough_rows(found)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # of the CPU
@pytest.mark.parametrize("seed", [*range(8), 398])  # the last one has units that are saturated
def test_steps_of_a_random_model_sum_to_the_difference_and_a_row_counts_as_alone(seed: int) -> None:
    assert_complete(seed)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_steps_of_500_random_models_sum_to_the_difference() -> None:
    complete = sum(assert_complete(seed) for seed in range(500))
    assert complete > 400


# ---------------------------------------------------------------- a function of one's own


@pytest.mark.parametrize("by_step", [False, True], ids=["sequence", "step"])
def test_any_model_is_left_as_it_was_and_runs_without_dropout(by_step: bool) -> None:
    """In training mode, within `inference_mode`, with noise in the padding."""
    torch.manual_seed(0)
    model, inputs = Packed(by_step=by_step).train(), rows()
    drawn, weights = torch.get_rng_state(), [*map(torch.clone, model.parameters())]
    with torch.inference_mode():
        found = attribute(lambda x, n: model(x, n), inputs, LENGTHS)
    assert model.training and torch.equal(drawn, torch.get_rng_state())
    assert all(p.grad is None and p.equal(w) for p, w in zip(model.parameters(), weights))
    model.eval()
    with torch.no_grad():
        start = [model(x, LENGTHS) for x in (inputs, torch.zeros_like(inputs))]
    logit, nothing = (each.gather(-1, start[0].argmax(-1, keepdim=True))[..., 0] for each in start)
    expected = logit - nothing
    if by_step:
        expected = masked_mean(expected, LENGTHS)
    assert [tuple(row.shape) for row in found] == [(7, 3), (1, 3), (4, 3), (6, 3)]
    assert [float(row.sum()) for row in found] == pytest.approx(expected.tolist(), rel=1e-5)
    assert not rough_rows(found)


def test_one_step_of_logits_at_every_step_counts() -> None:
    torch.manual_seed(0)
    model, inputs = Packed(nn.GRU, by_step=True).eval(), rows()
    lengths = torch.tensor([7, 3, 4, 6])
    with torch.no_grad():
        logits = model(inputs, lengths) - model(torch.zeros_like(inputs), lengths)
    for step in (0, 2, -1):
        there = lengths - 1 if step < 0 else torch.full((4,), step)
        expected = logits[torch.arange(4), there, 1]
        found = attribute(model, inputs, lengths, 1, step)
        assert [float(row.sum()) for row in found] == pytest.approx(expected.tolist(), rel=0.01)
    each = attribute(model, rows()[:, :4], [4, 3, 4, 4], torch.arange(4), 2)  # as many as steps
    for n, row in enumerate(each):
        alone = attribute(model, rows()[n : n + 1, :4], [len(row)], n, 2)
        torch.testing.assert_close([row], [*alone], rtol=0, atol=1e-5)
    causal = nn.RNN(3, 4, batch_first=True)
    found = attribute(lambda x, n: causal(x)[0], inputs, lengths, 0, 2)
    assert all(row[:3].all() and not row[3:].any() for row in found)  # what comes later


# ---------------------------------------------------------------- what is not smooth


def midpoint_sum(function: Any, inputs: Tensor, lengths: Tensor, classes: Tensor) -> Tensor:
    """Integrated gradients from zero, by the simplest rule there is."""
    total, count = torch.zeros_like(inputs), 4000
    for points in ((torch.arange(count).double() + 0.5) / count).split(100):
        copies = (points.view(-1, 1, 1, 1) * inputs).flatten(0, 1).requires_grad_()
        logits = function(copies, lengths.repeat(len(points)))
        logit = logits.gather(1, classes.repeat(len(points)).unsqueeze(1)).sum()
        [slopes] = torch.autograd.grad(logit, copies)
        total += slopes.view(len(points), *inputs.shape).sum(dim=0) / count
    return total * inputs


@pytest.mark.parametrize(
    ("head", "off"),
    [("bidirectional_concat", 0.005), ("max_pool", 0.02), ("attention_pool", 0.005)],
)
def test_single_steps_are_those_of_a_sum_of_4000_points(head: str, off: float) -> None:
    torch.manual_seed(1)
    data = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
    task = SequenceClassifier(data, {"hidden_size": 8, "bidirectional": True}, head).double().eval()
    for weight in task.parameters():
        weight.data *= 2
    inputs, lengths = rows()[:, :7].double(), LENGTHS
    classes = torch.tensor([0, 1, 1, 0])
    function = task.network
    expected = midpoint_sum(function, inputs, lengths, classes)
    attributions = attribute(function, inputs, lengths, classes)
    for row, steps, length in zip(expected, attributions, LENGTHS):
        largest = float(row.abs().max())
        torch.testing.assert_close(steps.double(), row[:length], rtol=0, atol=off * largest)


def jump(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Whose slopes are 0, although its logits differ."""
    total = inputs.sum(dim=(1, 2))
    return torch.stack([(total > 0.3).to(total) + 0 * total, -1 + 0 * total], dim=1)


def test_a_row_without_slopes_does_not_sum_to_its_difference_and_says_so() -> None:
    attributions = attribute(jump, torch.tensor([[[0.2]], [[0.9]]]), [1, 1])
    assert [row.item() for row in attributions] == [0.0, 0.0]
    assert attributions.remainder.tolist() == [0.0, 1.0]
    assert rough_rows(attributions) == [1]


def test_what_changes_where_nothing_has_a_slope_is_spread_over_the_steps_of_the_row() -> None:
    """A jump, and further on a slope, as of units that are saturated in between."""

    def jump_and_slope(inputs: Tensor, lengths: Tensor) -> Tensor:
        total = inputs.sum(dim=(1, 2))
        return (0.1 * (total > 0.8) + 2 * (total - 2).relu()).unsqueeze(1)

    attributions = attribute(jump_and_slope, torch.tensor([[[1.0], [3.0]], [[0.1], [0.8]]]), [2, 2])
    found = [row.flatten().tolist() for row in attributions]
    assert found == [pytest.approx([4.1 / 4, 3 * 4.1 / 4]), [0, 0]]
    assert attributions.remainder.tolist() == pytest.approx([0.1, 0.1], abs=0.01)


@pytest.mark.parametrize(("steepness", "is_rough"), [(100.0, False), (1e6, True)])
def test_a_steep_slope_is_found_or_what_it_lacks_is_said(steepness: float, is_rough: bool) -> None:
    """It rises by 1 within a thousandth of the way, or a millionth."""

    def steep(inputs: Tensor, lengths: Tensor) -> Tensor:
        return (steepness * (inputs.sum(dim=(1, 2)) - 0.31)).sigmoid().unsqueeze(1)

    inputs = torch.tensor([[[1.0], [3.0]]]).double()
    attributions = attribute(steep, inputs, [2], 0)
    assert attributions[0].flatten().tolist() == pytest.approx([0.25, 0.75], abs=1e-4)
    assert (
        bool(attributions.remainder > 0.1) == is_rough
        and bool(rough_rows(attributions)) == is_rough
    )
    assert float(attributions.remainder) < 0.01 or is_rough


def test_pieces_that_are_good_enough_are_not_cut_again() -> None:
    copies_read = list[int]()

    def kinked(inputs: Tensor, lengths: Tensor) -> Tensor:
        """The second row has a kink at 0.7 of the way."""
        copies_read.append(len(inputs))
        return (inputs + (inputs - 0.7).relu()).sum(dim=(1, 2)).unsqueeze(1)

    attributions = attribute(kinked, torch.tensor([[[0.6]], [[1.0]]]), [1, 1], 0)
    assert [row.item() for row in attributions] == pytest.approx([0.6, 1.3])
    assert copies_read[:5] == [2, 2, 2, 22, 1]  # classes, two ends, between pieces, has it slopes?
    assert copies_read[5] == 48  # all pieces; then one piece of the second row, again and again
    assert {*copies_read[6::2]} == {3} and {*copies_read[7::2]} == {8} and len(copies_read) < 14


def test_a_gap_is_small_beside_the_way_of_a_logit_that_ends_near_where_it_began() -> None:
    copies_read = list[int]()

    def up_and_down(inputs: Tensor, lengths: Tensor) -> Tensor:
        """It rises to 0.52, and falls to 0.04: its way is 1."""
        copies_read.append(len(inputs))
        return torch.minimum(inputs, 1.04 - inputs).sum(dim=(1, 2)).unsqueeze(1)

    attributions = attribute(up_and_down, torch.ones(1, 1, 1), [1], 0)
    assert attributions[0].item() == pytest.approx(0.04)
    assert copies_read.count(8) == 1  # the piece with the top is cut once, as 0.3 % of 1 allows


def test_a_model_in_half_precision_sums_to_the_difference_that_it_computes() -> None:
    project, calls = nn.Linear(3, 2).to(torch.bfloat16), list[int]()
    project.bias.data += 3  # whose difference is small, and has few digits

    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        calls.append(len(inputs))
        return project(inputs.tanh().mean(dim=1))

    inputs, lengths = rows().to(torch.bfloat16), torch.full((4,), 9)
    attributions = attribute(function, inputs, lengths, 1)
    assert sum(calls) == 4 * (1 + 2 + 11 + 24) + 1  # rounding is no reason to cut a piece
    change = (function(inputs, lengths) - function(0 * inputs, lengths))[:, 1].float()
    sums = torch.stack([row.sum() for row in attributions])
    torch.testing.assert_close(sums, change, rtol=1e-4, atol=1e-5)
    assert attributions.remainder.all() and attributions[0].dtype == torch.float32


# ---------------------------------------------------------------- any number of rows


def stacked(inputs: Tensor, lengths: Tensor) -> Tensor:
    """A model that reads row by row."""
    return torch.stack([row[:end].tanh().sum(dim=0) for row, end in zip(inputs, lengths)])


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
@pytest.mark.parametrize("kind", ["packed", "stacked", "ours"])
def test_any_number_of_rows_goes_in_by_128_copies(kind: str, count: int) -> None:
    torch.manual_seed(0)
    data = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
    task = SequenceClassifier(data, {"hidden_size": 4}, "last_hidden").eval()
    models: dict[str, Any] = {"packed": Packed(nn.GRU).eval(), "stacked": stacked}
    model, copies_read = models.get(kind, task.network), list[int]()

    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        copies_read.append(len(inputs))
        return model(inputs, lengths)

    inputs, lengths = torch.randn(count, 4, 3), 1 + torch.arange(count) % 4
    attributions = attribute(function, inputs, lengths, 1)
    assert min(copies_read) >= 1 and max(copies_read) <= 128
    assert [len(row) for row in attributions] == lengths.tolist()
    with torch.no_grad():
        change = (model(inputs, lengths) - model(0 * inputs, lengths))[:, 1]
    sums = torch.stack([row.sum() for row in attributions])
    torch.testing.assert_close(sums, change.to(sums), rtol=1e-4, atol=1e-5)
    [alone] = attribute(model, inputs[-1:], lengths[-1:], 1)
    torch.testing.assert_close(attributions[-1], alone, rtol=0, atol=1e-4)


@pytest.mark.long
def test_2048_packed_rows_are_attributed() -> None:
    attributions = attribute(Packed(), torch.randn(2048, 4, 3), 1 + torch.arange(2048) % 4)
    assert len(attributions) == len(attributions.remainder) == 2048


def test_of_long_rows_fewer_copies_go_in_at_once() -> None:
    shapes = list[Any]()

    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        shapes.append(tuple(inputs.shape[:2]))
        return inputs.tanh().sum(dim=1)

    attribute(function, torch.randn(5, 3_000, 1), [3_000] * 5, 0)
    assert max(count * time for count, time in shapes) <= 6_400
    assert max(count for count, _ in shapes) == 2


@pytest.mark.parametrize("method", ["integrated_gradients", "left_out"])
def test_of_rows_of_many_numbers_fewer_copies_go_in_at_once(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = torch.randn(3, 21, 40, generator=torch.Generator().manual_seed(0))
    lengths = [21, 20, 3]
    sizes = list[int]()

    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        sizes.append(inputs.numel())
        return stacked(inputs, lengths).cumsum(dim=1)  # in which all features up to it count

    whole = attribute(function, inputs, lengths, 39, method=method)
    assert max(sizes) > 7 * 21 * 40
    sizes.clear()
    monkeypatch.setattr("seqmodels.dataflow.attribution.NUMBERS", 7 * 21 * 40 + 1)
    in_parts = attribute(function, inputs, lengths, 39, method=method)
    assert max(sizes) <= 7 * 21 * 40
    for row, row_in_parts in zip(whole, in_parts):
        torch.testing.assert_close(row, row_in_parts, rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------- what has no answer


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_is_named_unless_it_is_padding(value: float) -> None:
    inputs = rows()
    expected = attribute(Packed(), inputs, LENGTHS, 1)
    inputs[2, 4:] = value
    for row, steps in zip(attribute(Packed(), inputs, LENGTHS, 1), expected):
        assert row.isfinite().all() and row.shape == steps.shape
    inputs[3, 5, 1] = value
    message = f"^row 3, step 5: feature 1 is {value}: give finite numbers$"
    for method in ("integrated_gradients", "left_out"):
        with pytest.raises(UserError, match=message):
            attribute(Packed(), inputs, LENGTHS, method=method)


def test_logits_that_are_not_finite_on_the_way_are_an_error() -> None:
    inputs = torch.tensor([[[1.0]], [[2.0]]])
    message = "^row 0: its logit or the gradient is nan or inf on the way from the baseline: "
    with pytest.raises(UserError, match=message):
        attribute(lambda x, n: x.sum(dim=1).log(), inputs, [1, 1])
    with pytest.raises(UserError, match="^row 1: its logit or the gradient is nan or inf"):
        attribute(lambda x, n: (1 - x.sum(dim=1)).sqrt(), inputs, [1, 1])
    with pytest.raises(UserError, match="^row 1: its logit is nan or inf, or becomes so where a"):
        attribute(lambda x, n: (1 - x.sum(dim=1)).sqrt(), inputs, [1, 1], method="left_out")


def test_logits_that_do_not_depend_on_the_inputs_give_zeros() -> None:
    scores = torch.tensor([[1.0, 2.0]])
    weights = scores.clone().requires_grad_()
    for logits in (scores, weights):
        function = partial(lambda logits, x, n: logits.expand(len(x), -1), logits)
        attributions = attribute(function, rows(), LENGTHS)
        assert not torch.cat([*attributions]).any() and not attributions.remainder.any()


def test_logits_that_change_without_a_gradient_are_an_error() -> None:
    model = Packed()
    message = "^the logits change, but have no gradient: let the function run without no_grad, "
    for function in (torch.no_grad()(model), lambda x, n: model(x, n).detach()):
        with pytest.raises(UserError, match=message):
            attribute(function, rows(), LENGTHS)


def test_a_function_may_write_to_its_inputs() -> None:
    model = Packed()

    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        inputs[:, :, 0] = 0
        return model(inputs, lengths)

    attributions = attribute(function, rows(), LENGTHS)
    assert all(not row[:, 0].any() and row[:, 1:].any() for row in attributions)


def test_a_variable_of_the_function_may_be_assigned_later() -> None:
    model = Packed().train()

    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        return model(inputs, lengths) if inputs.numel() else later(inputs)

    attributions, again = (attribute(function, rows(), LENGTHS) for _ in range(2))
    later = nn.Linear(1, 1)
    torch.testing.assert_close([*attributions], [*again], rtol=0, atol=0)  # without dropout


def test_a_slice_has_the_remainders_of_its_rows() -> None:
    attributions = attribute(Packed(), rows(), LENGTHS)
    for part in (slice(1, 3), slice(None, None, -1), slice(4, None)):
        some = attributions[part]
        expected = [*attributions.remainder.tolist()][part]
        assert some.remainder.tolist() == expected and len(some) == len(expected)
    assert type(attributions + attributions) is list and attributions[1].shape == (1, 3)


def test_a_stretch_of_a_series_is_replaced_by_a_straight_line() -> None:
    """A linear model: the change is known. Stretches share theirs among their steps."""
    inputs, lengths = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0)), [50, 45]
    weights = torch.linspace(-1, 2, 100).view(50, 2)

    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        return (inputs * weights[: inputs.shape[1]]).sum(dim=(1, 2)).unsqueeze(1)

    for row, end in zip(attribute(function, inputs, lengths, method="left_out"), lengths):
        values = inputs[lengths.index(end), :end].numpy()
        size = -(-end // 20)
        expected = np.zeros((end, 2))
        for first in range(0, end, size):
            inside = np.arange(first, min(first + size, end))
            known = np.delete(np.arange(end), inside)
            for channel in range(2):
                line = np.interp(inside, known, values[known, channel])
                change = (values[inside, channel] - line) @ weights[inside, channel].numpy()
                expected[inside, channel] = change / len(inside)
        np.testing.assert_allclose(row.numpy(), expected, atol=1e-4)
    [alone] = attribute(function, torch.ones(1, 1, 2), [1], method="left_out")
    assert alone.flatten().tolist() == pytest.approx(weights[0].tolist())  # no neighbour: 0


def test_a_token_that_is_left_out_changes_the_other_tags() -> None:
    """Each tag is 1, and its logit the number of tokens 5 in the row, and its own token."""

    def function(inputs: Tensor, lengths: Tensor) -> Tensor:
        fives = (inputs == 5).sum(dim=1, keepdim=True).expand_as(inputs).float()
        return torch.stack([torch.zeros_like(fives), fives + inputs], dim=2)

    found = attribute(function, torch.tensor([[5, 2, 5], [5, 3, 0]]), [3, 2], method="left_out")
    assert [row.tolist() for row in found] == [[1.0, 0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "left-out"}, r"^method=left-out: choose one of .*; did you mean left_out\?$"),
        ({"of": 4}, "^of=4: there are 4 classes, counted from 0$"),
        ({"of": -1}, "^of=-1: there are 4 classes, counted from 0$"),
        ({"of": np.int64(7)}, "^of=7: there are 4 classes, counted from 0$"),
        ({"of": torch.tensor(7)}, "^of=7: there are 4 classes, counted from 0$"),
        (
            {"of": torch.tensor([0, 3, 4, 0])},
            "^of=4 of row 2: there are 4 classes, counted from 0$",
        ),
        ({"of": [0, 1]}, r"^of is \(2,\): give one class, or one for each of 4 rows or steps$"),
        ({"of": "a"}, "^of=a: give the number of a class, 0 to 3$"),
        ({"of": 1.0}, "^of=1.0: give the number of a class, 0 to 3$"),
        ({"step": 1}, "^step=1: row 1 has 1 step, counted from 0, or -1 for the last$"),
        ({"step": -2}, "^step=-2: row 1 has 1 step, counted from 0, or -1 for the last$"),
        ({"step": "last"}, "^step=last: give the number of a step, from 0, or -1 for the last$"),
        ({"baseline": "mean"}, "^baseline is mean: give zero, or a number for each of 3$"),
        ({"baseline": None}, "^baseline is None: give zero, or a number for each of 3$"),
        ({"baseline": 0}, r"^baseline is \(\): give zero, or a number for each of 3$"),
        (
            {"baseline": [[0.0] * 3] * 2},
            r"^baseline is \(2, 3\): give zero, or a number for each of 3$",
        ),
        ({"baseline": [0.0, 1.0]}, r"^baseline is \(2,\): give zero, or a number for each of 3$"),
        ({"baseline": [0, torch.nan, 0]}, r"^baseline=\[0.0, nan, 0.0\]: give finite numbers$"),
        ({"baseline": ["a", "b", "c"]}, r"^baseline=\['a', 'b', 'c'\]: give numbers$"),
        ({"lengths": [7, 1, 4, 10]}, r"^lengths\[3\] is 10: rows have 1 to 9 steps$"),
        ({"lengths": [7, 0, 4, 6]}, r"^lengths\[1\] is 0: rows have 1 to 9 steps$"),
        (
            {"lengths": [7, 1]},
            r"^lengths are \(2,\) int64: give a whole number for each of 4 rows$",
        ),
        ({"inputs": torch.ones(0, 9, 3), "lengths": []}, "^lengths are .* for each of 0 rows$"),
        (
            {"inputs": torch.ones(0, 9, 3), "lengths": torch.ones(0, dtype=torch.int64)},
            "^inputs have no rows: give at least one$",
        ),
        ({"inputs": torch.ones(4, 9)}, r"^inputs are \(4, 9\): give features \(B, T, F\)$"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_an_error(options: dict[str, Any], message: str) -> None:
    arguments = {"inputs": rows(), "lengths": LENGTHS, **options}
    with pytest.raises(UserError, match=message):
        attribute(Packed(by_step=True), **arguments)


def test_one_prediction_for_each_row_has_no_step() -> None:
    message = "^step=5: there is one prediction for each row, leave step out$"
    with pytest.raises(UserError, match=message):
        attribute(Packed(), rows(), LENGTHS, step=5)


@pytest.mark.parametrize(
    ("answer", "given"), [(torch.zeros(4), r"\(4,\)"), ((torch.zeros(4, 2),), "tuple")], ids=str
)
def test_what_is_no_logits_is_an_error(answer: Any, given: str) -> None:
    message = rf"^function gave {given}: let it give logits \(B, C\) or \(B, T, C\)$"
    with pytest.raises(UserError, match=message):
        attribute(lambda x, n: answer, rows(), LENGTHS)


def test_what_is_left_out_needs_no_baseline() -> None:
    changes = attribute(Packed(), rows(), LENGTHS, method="left_out", baseline=None)
    assert [tuple(row.shape) for row in changes] == [(7, 3), (1, 3), (4, 3), (6, 3)]
    assert changes.remainder.tolist() == [0.0] * 4


def test_tokens_have_no_line_between_them() -> None:
    with pytest.raises(UserError, match="^no line leads from token to token: embed them, or set"):
        attribute(Packed(), torch.ones(4, 9, dtype=torch.int64), LENGTHS)


# ---------------------------------------------------------------- tasks


def test_of_a_tagger_a_step_counts_or_a_tag_or_all_steps() -> None:
    torch.manual_seed(0)
    data = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
    task = exported("Tagger")(data, {"hidden_size": 4}, output={"kind": "crf"}).eval()
    rows = SequenceBatch(torch.randn(2, 5, 3), torch.tensor([5, 3]))
    task.network.head.output.transitions.data = 9 * torch.eye(3).flip(1) - 3
    with torch.no_grad():
        states = task.network.encode(rows)
        assert not task.network.head.decode(states).equal(task.network.head(states).argmax(dim=2))
        nothing = task(SequenceBatch(torch.zeros_like(rows.inputs), rows.lengths))
        change, tags = task.network.head(states) - nothing, task.network.head.decode(states)
    made = change.gather(2, tags.unsqueeze(2))[..., 0]
    for of, expected in (
        (2, made[:, 2]),
        ("b", masked_mean(change[..., 1], rows.lengths)),
        (None, masked_mean(made, rows.lengths)),
    ):
        found = [float(steps.sum()) for steps in attributed(task, rows, of)]
        assert found == pytest.approx(expected.tolist(), rel=0.01)
    for of in (4, -2, np.int64(3)):
        with pytest.raises(
            UserError, match=f"^of={of}: input 2 has 3 steps, counted from 0, or -1"
        ):
            attributed(task, rows, of)


def test_of_a_language_model_the_next_token_counts() -> None:
    torch.manual_seed(0)
    tokens = ["[PAD]", "[UNK]", "the", "film"]
    saved = {"options": {"level": "word"}, "tokens": tokens, "merges": []}
    data = {"num_inputs": 4, "tokenizer": saved}
    task = exported("LanguageModel")(data, {"hidden_size": 6}).eval()
    rows = SequenceBatch(torch.tensor([[2, 3, 2], [3, 2, 0]]), torch.tensor([3, 2]))
    with torch.no_grad():
        nothing = SequenceBatch(torch.zeros_like(rows.inputs), rows.lengths)
        logits = (task(rows) - task(nothing))[[0, 1], [2, 1]]
    found = attributed(task, rows, "film")
    assert [float(steps.sum()) for steps in found] == pytest.approx(logits[:, 3].tolist(), rel=0.01)
    with pytest.raises(UserError, match="^of=fim: choose one of .*; did you mean film\\?$"):
        attributed(task, rows, "fim")


def test_of_numbers_the_first_counts_in_its_own_units_or_the_one_you_name() -> None:
    torch.manual_seed(0)
    data = {"inputs": "features", "num_inputs": 3, "values": ["load", "wind"]}
    data |= {"mean": [1e3, 0.0], "deviation": [50.0, 2.0]}
    task = exported("Regressor")(data, {"hidden_size": 4}).eval()
    rows = SequenceBatch(torch.randn(2, 5, 3), torch.tensor([5, 3]))
    logits = task(rows) - task(SequenceBatch(torch.zeros_like(rows.inputs), rows.lengths))
    for of, expected in ((None, 50 * logits[:, 0]), ("wind", 2 * logits[:, 1])):
        found = [float(steps.sum()) for steps in attributed(task, rows, of)]
        assert found == pytest.approx(expected.tolist(), rel=0.01)
    with pytest.raises(UserError, match="^of=lod: choose one of load, wind; did you mean load\\?$"):
        attributed(task, rows, "lod")


@pytest.mark.parametrize(
    ("kind", "head", "why"),
    [
        ("Seq2Seq", "final_state", "its decoder writes token by token"),
        ("Forecaster", "last_hidden", "each value is many steps ahead"),
    ],
)
def test_what_cannot_be_attributed_says_why(kind: str, head: str, why: str) -> None:
    task = example_task("lstm", 1, None, head, exported(kind)).eval()
    with pytest.raises(UserError, match=f"^steps of a {kind} can't be attributed: {why}"):
        attributed(task, SequenceBatch(torch.ones(1, 3, 3), torch.tensor([3])))


# ---------------------------------------------------------------- a needle


def needle_share(head: str, steps: int, seed: int = 0) -> tuple[float, float]:
    """The accuracy of a trained head, and the share of its attribution that falls on 3 steps of 40
    which tell the class, in other places of each row; all else is noise."""
    draw = torch.Generator().manual_seed(seed)
    signs, wave = torch.tensor([-1.0, 1.0]), torch.tensor([2.0, -4.0, 2.0])

    def batch(count: int) -> tuple[Tensor, Tensor, Tensor]:
        inputs, classes = torch.randn(count, 40, 1, generator=draw), torch.arange(count) % 2
        places = torch.randint(0, 37, (count, 1), generator=draw) + torch.arange(3)
        inputs[torch.arange(count).unsqueeze(1), places, 0] += signs[classes].unsqueeze(1) * wave
        return inputs, classes, places

    torch.manual_seed(seed)
    data = {"inputs": "features", "num_inputs": 1, "classes": ["down", "up"]}
    encoder = {"hidden_size": 16, "bidirectional": fitting_directions(head)[-1]}
    task = SequenceClassifier(data, encoder, head)
    optimizer = torch.optim.Adam(task.parameters(), lr=0.02)
    for _ in range(steps):
        inputs, classes, _ = batch(64)
        task.score(SequenceBatch(inputs, torch.full((64,), 40), classes)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    inputs, classes, places = batch(64)
    rows = SequenceBatch(inputs, torch.full((64,), 40))
    with torch.no_grad():
        right = task.eval()(rows).argmax(dim=1) == classes
    found = torch.stack(attributed(task, rows))[..., 0].abs()
    shares = found.gather(1, places).sum(dim=1) / found.sum(dim=1)
    return float(right.float().mean()), float(shares.mean())


def test_steps_that_tell_the_class_count_for_it() -> None:
    accuracy, share = needle_share("mean_pool", 100)
    # Evenly spread, it would be 0.075; processors train differently.
    assert accuracy > 0.8 and share > 0.3, (accuracy, share)


@pytest.mark.long
def test_every_head_that_finds_the_needle_shows_where_it_is() -> None:
    for head in CLASSIFIER_HEADS:
        accuracy, share = needle_share(head, 400)
        assert share > 0.3 or accuracy < 0.9, head
