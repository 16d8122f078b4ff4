"""Forecasts: all at once or step by step, in their own units, by the errors of a hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_pinball_loss
from sktime.performance_metrics.forecasting import mean_absolute_scaled_error

from seqmodels.batch import SequenceBatch
from seqmodels.data.sources import as_file
from seqmodels.engine.contract import Sums
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.tasks.forecasting import Forecaster, Windows
from seqmodels.tasks.forecasting.forecast_scores import forecast_parts, forecast_scores
from seqmodels.tasks.forecasting.linear_path import ALPHAS
from seqmodels.tasks.forecasting.task import shift
from seqmodels.tasks.forecasting.window_dataset import WindowDataset
from tests.conftest import Config, Script, result_of
from tests.measured import measured_of
from tests.runs.resumed import resumes
from tests.tasks.classification.test_classification import quiet

pytestmark = quiet

B, W, C, H, K, S = 5, 7, 4, 3, 2, 3  # rows, window, columns, horizon, targets, series
SPEC = {
    "inputs": "features",
    "num_inputs": C,
    "columns": ["y", "z", "u", "v"],
    "values": ["y", "z"],
    "horizon": H,
    "window": W,
    "period": 2,
    "series": ["a", "b", "c"],
    "mean": [[1.0 + s, 10.0 * s, 0.0, 0.0] for s in range(S)],
    "deviation": [[2.0, 5.0 + s, 1.0, 1.0] for s in range(S)],
    "naive_error": [[0.5 + s, 3.0] for s in range(S)],
}
STEPWISE = {**SPEC, "num_inputs": K, "columns": ["y", "z"]}
QUANTILES = [0.1, 0.5, 0.8]


def forecaster(spec: dict = SPEC, **options: object) -> Forecaster:
    arguments = {"encoder": {"hidden_size": 6}, "optimizer": {"_target_": "torch.optim.SGD"}}
    return Forecaster(spec, **{**arguments, **options}).eval()  # type: ignore[arg-type]


def stepwise(**options: object) -> Forecaster:
    return forecaster(STEPWISE, head="every_step", **options)


def batch_of(columns: int = C) -> SequenceBatch:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(B, W, columns, generator=generator)
    targets = torch.randn(B, H * K, generator=generator)
    targets[0, 3] = targets[2, :2] = torch.nan
    return SequenceBatch(inputs, torch.full((B,), W), targets, series=torch.arange(B) % S)


def own_units(values: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
    """Standardised `(B, H, K)` in their own units, row by row."""
    assert batch.series is not None
    rows = []
    for row, series in zip(values, batch.series.tolist()):
        deviation, mean = (torch.tensor(SPEC[k][series][:K]) for k in ("deviation", "mean"))  # type: ignore[index]
        rows.append(row * deviation + mean)
    return torch.stack(rows)


def by_hand(task: Forecaster, batch: SequenceBatch) -> torch.Tensor:
    """The standardised forecasts `(B, H, K)` of a task that reads `last_hidden`, window by window
    and, with independent channels, column by column."""
    options, windows = task.hparams, []
    alone, size = options["channel_independent"], options["segment"] or 1
    for row in batch.inputs:
        read, beside = row[:, :K], row[:, K:]
        center, spread = torch.zeros(K), torch.ones(K)
        if options["instance_norm"] == "last":
            center = read[-1]
        elif options["instance_norm"] == "standard":
            center, spread = read.mean(0), read.std(0, correction=0)
        read = (read - center) / spread
        made = torch.zeros(H, K)
        for columns in [[0], [1]] if alone else [[0, 1]]:
            steps = torch.cat([read[:, columns], beside], dim=1)
            missing = -len(steps) % size
            steps = torch.cat([steps[:1]] * missing + [steps]).reshape(-1, size * steps.shape[1])
            output, _ = task.encoder.rnn(steps)
            made[:, columns] = task.head.output.project(output[-1]).view(H, len(columns))
        if options["base"] == "last":
            made = made + read[W - 1]
        elif options["base"] == "season":  # of two steps
            made = made + torch.stack([read[W - 2], read[W - 1], read[W - 2]])
        elif options["base"] == "linear":
            for k in range(K):
                both = torch.cat([read[:, k], beside.flatten()])
                made[:, k] += task.linear.weight @ both + task.linear.bias
            of_all = torch.cat([read, beside], dim=1).flatten()
            together = task.linear.together
            made += (together[:, :-1] @ of_all + together[:, -1]).view(H, K)
        windows.append(made * spread + center)
    return torch.stack(windows)


READINGS = [
    {"base": None},
    {"base": "last"},
    {"base": "season", "instance_norm": "last"},
    {"base": "linear", "instance_norm": "standard", "segment": 2},
    {"base": "linear", "channel_independent": True},
    {"instance_norm": "last", "channel_independent": True, "segment": 3},
    {"instance_norm": "standard", "channel_independent": True, "segment": 5},
]


@pytest.mark.parametrize("reading", READINGS)
def test_direct_forecasts_equal_those_by_hand(reading: dict) -> None:
    torch.manual_seed(0)
    task, batch = forecaster(**reading), batch_of()
    if task.linear is not None:
        for weights in (task.linear.weight, task.linear.together):  # which are zero at first
            torch.nn.init.normal_(weights)
    standardised = by_hand(task, batch)
    expected = own_units(standardised, batch)
    torch.testing.assert_close(task(batch), standardised.flatten(1))
    torch.testing.assert_close(task.forecast(batch), expected)
    step = task.step(batch)
    assert batch.targets is not None
    known = ~batch.targets.isnan()
    errors = (standardised.flatten(1) - batch.targets).view(B, H, K)
    if reading.get("instance_norm") == "standard":  # the loss is in the units of each window
        errors = errors / batch.inputs[..., :K].std(1, correction=0, keepdim=True)
    expected_loss = errors.flatten(1)[known].square().mean().item()
    assert step.loss.item() == pytest.approx(expected_loss, rel=1e-5)
    assert int(step.weight) == int(known.sum()) == B * H * K - 3


@pytest.mark.parametrize("reading", READINGS)
def test_padding_is_never_read_and_every_parameter_learns(reading: dict) -> None:
    task, batch = forecaster(dropout=0.0, **reading), batch_of()
    lengths = torch.tensor([W, 5, 1, 4, W - 1])
    junk, clean = batch.inputs.clone(), batch.inputs.clone()
    for row, length in enumerate(lengths):
        junk[row, length:], clean[row, length:] = 1e3, 0.0
    made = [task(SequenceBatch(inputs, lengths)) for inputs in (junk, clean)]
    torch.testing.assert_close(*made)
    task.step(batch).loss.backward()
    learned = [p for p in task.parameters() if p.requires_grad]
    assert all(p.grad is not None and bool(p.grad.any()) for p in learned)
    assert {*task.parameters()} - {*learned} == {*(task.linear.parameters() if task.linear else ())}


@pytest.mark.parametrize("base", [None, "last"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recursive_forecasts_equal_a_loop_by_hand(base: str | None, cell: str) -> None:
    task = stepwise(base=base, encoder={"hidden_size": 6, "cell": cell, "num_layers": 2})
    batch = batch_of(K)
    project, steps = task.head.output.project, batch.inputs
    for _ in range(H):  # everything is read again
        output, _ = task.encoder.rnn(steps)
        following = project(output[:, -1])
        following = following + steps[:, -1] if base else following
        steps = torch.cat([steps, following.unsqueeze(1)], dim=1)
    expected = own_units(steps[:, W:], batch)
    torch.testing.assert_close(task.forecast(batch), expected)
    step = task.step(batch)
    assert batch.targets is not None
    difference = steps[:, W:] - batch.targets.view(B, H, K)
    assert step.loss.item() == pytest.approx(difference.square().nanmean().item(), rel=1e-5)


@pytest.mark.parametrize("base", [None, "last"])
def test_it_learns_the_next_value_at_every_step(base: str | None) -> None:
    task, batch = stepwise(base=base, dropout=0.0).train(), batch_of(K)
    assert batch.targets is not None
    ahead = batch.targets.view(B, H, K)
    filled = torch.cat([batch.inputs, ahead], dim=1)
    for row, step, value in torch.cat([batch.inputs, ahead], dim=1).isnan().nonzero().tolist():
        filled[row, step, value] = filled[row, step - 1, value]
    output, _ = task.encoder.rnn(filled[:, :-1])
    made = task.head.output.project(output) + (filled[:, :-1] if base else 0)
    following = torch.cat([batch.inputs, ahead], dim=1)[:, 1:]
    step = task.step(batch)
    expected = (made - following).square().nanmean().item()
    assert step.loss.item() == pytest.approx(expected, rel=1e-5)
    errors = (own_units(made[:, -H:], batch) - own_units(ahead, batch)).abs()
    found = task.measured(Sums({**step.sums, "loss": step.loss, "weight": step.weight}))
    assert found["mae"].item() == pytest.approx(errors.nanmean().item(), rel=1e-5)


def test_what_comes_next_is_missing_where_it_is_and_is_read_as_the_last_known_value() -> None:
    nan = torch.nan
    inputs, ahead = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[nan], [nan], [5.0], [6.0]]])
    read, following = shift(inputs, ahead)
    assert read.flatten().tolist() == [1, 2, 2, 2, 5]
    torch.testing.assert_close(
        following.flatten(), torch.tensor([2, nan, nan, 5, 6]), equal_nan=True
    )


def test_the_head_decides_the_contract_and_the_directions() -> None:
    direct, steps = forecaster(head="mean_pool"), stepwise()
    assert (direct.contract.per, direct.contract.causal) == ("sequence", False)
    assert (steps.contract.per, steps.contract.causal, steps.contract.stateful) == (
        "step",
        True,
        True,
    )
    assert not steps.encoder.bidirectional
    assert forecaster(head="bidirectional_concat").encoder.bidirectional


def test_quantiles_are_restored_and_scored_in_own_units() -> None:
    task = forecaster(output={"quantiles": QUANTILES}, base="last")
    batch = batch_of()
    made = task.head(task.encode(batch)).view(B, H, K, 3).sort(-1).values
    made = made + batch.inputs[:, -1, :K].view(B, 1, K, 1)
    expected = torch.stack([own_units(each, batch) for each in made.unbind(-1)], dim=-1)
    torch.testing.assert_close(task.forecast(batch), expected)
    rows = task.describe(SequenceBatch(batch.inputs, batch.lengths, series=batch.series))
    json.dumps(rows)
    assert [*rows[1]] == ["y", "z"] and [*rows[1]["z"]] == ["0.1", "0.5", "0.8"]
    np.testing.assert_allclose(rows[1]["z"]["0.8"], expected[1, :, 1, 2].detach(), rtol=1e-5)
    assert batch.targets is not None
    targets, known = own_units(batch.targets.view(B, H, K), batch), ~batch.targets.isnan()
    measured, flat = measured_of(task, batch), targets.flatten(1)[known]
    losses = [
        mean_pinball_loss(flat, expected.flatten(1, 2)[known][:, n].detach(), alpha=level)
        for n, level in enumerate(QUANTILES)
    ]
    assert measured["pinball"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_mase_is_that_of_another_library() -> None:
    random = np.random.default_rng(0)
    history, period = random.normal(size=40).cumsum(), 4
    truth, made = random.normal(size=6), random.normal(size=6)
    expected = mean_absolute_scaled_error(truth, made, y_train=history, sp=period)
    scale = np.abs(history[period:] - history[:-period]).mean()
    sums = 0
    for rows in (slice(0, 2), slice(2, 6)):  # in batches
        made_, truth_ = (torch.tensor(each[rows]).view(-1, 1, 1) for each in (made, truth))
        same = torch.full_like(truth_, scale)
        parts = forecast_parts(made_, truth_, same, same, None, torch.zeros(1))
        sums = sums + parts.flatten(1).sum(1, keepdim=True)
    assert forecast_scores(sums, sums)["mase"].item() == pytest.approx(expected, rel=1e-5)


def test_errors_in_deviations_of_each_series_are_measured_whatever_the_batches() -> None:
    task, batch = forecaster(), batch_of()
    assert batch.targets is not None
    off = (task(batch) - batch.targets).detach()
    measured = measured_of(task, batch)
    assert measured["standardised_mse"] == pytest.approx(off.square().nanmean().item())
    assert measured["standardised_mae"] == pytest.approx(off.abs().nanmean().item())

    def part(rows: slice) -> SequenceBatch:
        assert batch.targets is not None and batch.series is not None
        return SequenceBatch(
            batch.inputs[rows], batch.lengths[rows], batch.targets[rows], series=batch.series[rows]
        )

    again = measured_of(task, part(slice(0, 2)), part(slice(2, B)))
    of_loss = again.pop("loss"), measured.pop("loss")
    assert of_loss[0] == pytest.approx(of_loss[1]) and again == pytest.approx(measured, rel=1e-6)


def test_each_error_is_scaled_by_its_own_series() -> None:
    task, batch = forecaster(), batch_of()
    assert batch.targets is not None
    targets = own_units(batch.targets.view(B, H, K), batch)
    naive_error = torch.tensor([SPEC["naive_error"][row % S] for row in range(B)])
    expected = ((task.forecast(batch) - targets).abs() / naive_error[:, None, :K]).nanmean()
    assert measured_of(task, batch)["mase"] == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "every_step"}, "without data.inputs, which nobody knows in advance: leave that"),
        (
            {"spec": {**SPEC, "future_inputs": ["v"]}, "head": "every_step"},
            "without data.future_inputs: leave that out, or choose a head",
        ),
        (
            {"spec": STEPWISE, "head": "every_step", "output": {"quantiles": QUANTILES}},
            "without model.output.quantiles: leave that out, or choose a head .*last_hidden",
        ),
        (
            {"spec": STEPWISE, "head": "every_step", "base": "season"},
            "without model.base=season: leave that out",
        ),
        ({"spec": STEPWISE, "head": "every_step", "segment": 2}, "without model.segment: leave"),
        ({"spec": {**SPEC, "period": 8}, "base": "season"}, "last period, of 8 steps, and data.wi"),
        ({"output": {"label_smoothing": 0.1}}, "model.output.label_smoothing is not an argument"),
        ({"head": "tied_softmax"}, "ends in a softmax over a vocabulary"),
        ({"output": {"error": "mes"}}, "model.output.error=mes"),
    ],
)
def test_mistakes_are_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        forecaster(**options)
    assert "\n" not in str(caught.value)


def test_auto_is_what_each_kind_of_forecaster_can_do() -> None:
    names = ("base", "instance_norm", "channel_independent", "segment")
    auto = dict.fromkeys(names, "auto")
    long = {**SPEC, "window": 336}
    assert [forecaster(long, **auto).hparams[name] for name in names] == [
        "linear",
        "last",
        True,
        24,
    ]
    assert [stepwise(**auto).hparams[name] for name in names] == ["last", None, False, None]


# ---------------------------------------------------------------- with data


class Columns(pl.LightningDataModule):
    """Two columns that depend on their windows and on a third one, standardised already."""

    def __init__(self, rows: int = 400, noise: float = 0.3, seed: int = 0) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        values = lfilter([1.0], [1.0, -0.9], random.normal(size=(rows, 3)), axis=0)
        values[2:, 0] += np.sin(values[:-2, 2])
        values += noise * random.normal(size=values.shape)
        self.values = values.astype(np.float32)
        cuts = {"train": (0, 200), "validation": (200, 300), "test": (300, rows)}
        self.datasets = {name: self.windows(*cut) for name, cut in cuts.items()}

    def windows(self, first: int, stop: int) -> WindowDataset:
        starts = np.arange(first, stop - W - H)
        series = np.zeros(len(starts), np.int64)
        return WindowDataset(self.values, self.values[:, :K], starts, series, W, H, {})


COLUMNS = {**SPEC, "num_inputs": 3, "columns": ["y", "z", "u"], "series": [""]}
COLUMNS |= {name: SPEC[name][:1] for name in ("mean", "deviation", "naive_error")}  # type: ignore[index]
RESIDUAL = {"base": "linear", "instance_norm": "last", "channel_independent": True}


def all_of(windows: WindowDataset) -> SequenceBatch:
    return windows.__getitems__([*range(len(windows))])


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("known", [False, True], ids=["beside", "in advance"])
def test_a_forecaster_begins_as_the_regressions_that_another_library_fits(
    known: bool, missing: bool
) -> None:
    spec = COLUMNS
    if known:
        spec = {**spec, "columns": ["y", "z", f"u in {H} steps"], "future_inputs": ["u"]}
    data, task = Columns(), forecaster(spec, **RESIDUAL)
    if missing:  # of z alone
        train = data.datasets["train"]
        train.targets = train.targets.copy()
        train.targets[20:120, 1] = np.nan
    task.initialize(data)
    batches = {name: all_of(windows) for name, windows in data.datasets.items()}
    last = {name: each.inputs[:, -1:, :K].numpy() for name, each in batches.items()}
    left = {}  # (N, H, K)
    for name, each in batches.items():
        assert each.targets is not None
        left[name] = each.targets.view(-1, H, K).numpy() - last[name]

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:  # (N, W, K) and (N, W)
        inputs = batches[name].inputs.numpy()
        return inputs[..., :K] - last[name], inputs[..., 2]

    def own(name: str) -> np.ndarray:
        return np.concatenate(np.moveaxis(read(name)[0], 2, 0))

    def with_beside(name: str) -> np.ndarray:
        return np.hstack([own(name), np.tile(read(name)[1], (K, 1))])

    def together(name: str) -> np.ndarray:
        values, beside = read(name)
        return np.concatenate([values, beside[..., None]], axis=2).reshape(len(values), -1)

    def rows(ahead: np.ndarray, alone: bool) -> np.ndarray:
        return np.concatenate(np.moveaxis(ahead, 2, 0)) if alone else ahead.reshape(len(ahead), -1)

    def nothing(name: str) -> np.ndarray:
        return np.zeros((K * len(batches[name]), 0))

    def simple(name: str) -> list[np.ndarray]:
        """What is left by the last value, a period (of 2 steps), the mean, the line."""
        values, ahead = read(name)[0], 1 + np.arange(H)[:, None]  # whose last one is 0
        made = (
            np.zeros((len(values), H, K)),
            np.stack([values[:, W - 2], values[:, W - 1], values[:, W - 2]], axis=1),
            values.mean(axis=1, keepdims=True),
            -values[:, :1] / (W - 1) * ahead,
        )
        return [left[name] - each for each in made]

    made = {name: simple(name) for name in batches}
    starts = [{name: of[n] for name, of in made.items()} for n in range(4)]
    left = take(with_beside if known else own, rows, starts, alone=True)
    if not known:
        left = take(with_beside, rows, [left, *starts], alone=True)
    begun = [
        {name: np.nan_to_num(each) for name, each in of.items()}  # nothing of what is missing
        for of in (left, take(nothing, rows, starts, alone=True))
    ]
    left = take(together, rows, begun, alone=False)
    forecast = task(batches["test"]).detach().numpy().reshape(-1, H, K)
    assert batches["test"].targets is not None
    expected = batches["test"].targets.view(-1, H, K).numpy() - left["test"]
    np.testing.assert_allclose(forecast, expected, atol=1e-4)


def take(
    features: Callable[[str], np.ndarray],
    rows: Callable[[np.ndarray, bool], np.ndarray],
    starts: list[dict[str, np.ndarray]],
    *,
    alone: bool,
) -> dict[str, np.ndarray]:
    """What is left of one of the starts, by itself or by a ridge regression of it."""

    def of(name: str) -> np.ndarray:
        x = features(name).astype(np.float64)
        return np.hstack([x, np.ones((len(x), 1))])

    choices = [*starts]
    for left in starts:
        x, y = of("train"), rows(left["train"], alone)
        there = ~np.isnan(y).any(axis=1)
        for alpha in ALPHAS:
            model = Ridge(alpha * there.sum(), fit_intercept=False).fit(x[there], y[there])
            choice = {}
            for name, each in left.items():
                made = model.predict(of(name))
                made = np.moveaxis(made.reshape(K, -1, H), 0, 2) if alone else made
                choice[name] = each - made.reshape(each.shape)
            choices.append(choice)
    return min(choices, key=lambda choice: np.square(choice["validation"]).sum())


@pytest.mark.parametrize("kind", ["walk", "season", "noise", "line"])
def test_a_forecaster_begins_at_least_level_with_each_simple_forecast(kind: str) -> None:
    noise = np.random.default_rng(0).normal(size=100)
    y = {
        "walk": noise.cumsum(),
        "season": lfilter([1.0], [1.0, *[0.0] * 3, -1.0], noise),  # each period a walk
        "noise": noise,
        "line": np.arange(100.0),
    }[kind]
    data = Windows({"y": y.tolist()}, "y", window=W, horizon=H, period=4)
    data.setup()
    task = forecaster(data.spec, **RESIDUAL)
    task.initialize(data)
    batch = all_of(data.datasets["validation"])
    assert batch.targets is not None
    read, ahead = batch.inputs[..., 0], torch.arange(1, H + 1)
    simple = {
        "walk": read[:, [-1]],
        "season": read[:, -4:-1],
        "noise": read.mean(1, keepdim=True),
        "line": read[:, [-1]] + (read[:, [-1]] - read[:, [0]]) / (W - 1) * ahead,
    }
    errors = {name: (made - batch.targets).square().mean() for name, made in simple.items()}
    assert min(errors, key=lambda name: float(errors[name])) == kind
    begun = (task(batch) - batch.targets).square().mean().item()
    assert begun <= errors[kind].item() * 1.0001 + 1e-9


@pytest.mark.parametrize("quantiles", [None, QUANTILES])
def test_what_the_network_adds_is_kept_as_far_as_validation_is_better_with_it(
    quantiles: list[float] | None,
) -> None:
    torch.manual_seed(0)
    data = Columns()
    task = forecaster(COLUMNS, output={"quantiles": quantiles}, **RESIDUAL)
    task.initialize(data)
    validation, level = data.datasets["validation"], QUANTILES.index(0.5)

    def mse() -> float:
        batch = all_of(validation)
        assert batch.targets is not None
        made = task(batch).view(len(batch), H * K, -1)
        made = made.sort(-1).values[..., level] if quantiles else made[..., 0]
        return (made - batch.targets).square().mean().item()

    regression, project = mse(), task.head.output.project
    torch.nn.init.normal_(project.weight, std=10.0)  # as if it had learned noise by heart
    before, fan = mse(), project.bias.detach().view(H, -1)
    project.shrink(task.added(batch) for batch in task.some_of(validation))
    assert mse() <= regression * 1.01 < before / 2
    assert project.share.item() < 0.05
    if quantiles:  # which stay as far apart
        made = task(all_of(validation)).view(-1, H, K, 3).detach()
        apart = (made[..., 2] - made[..., 0]).mean((0, 2))
        torch.testing.assert_close(apart, fan[:, 2] - fan[:, 0], rtol=0.05, atol=0.05)
    task.train()  # training is that of all of it
    features = torch.randn(3, 6)
    torch.testing.assert_close(
        project(features), features @ project.weight.T + project.bias.flatten()
    )


@pytest.mark.parametrize("factor", [0.3, 2.0])
def test_intervals_cover_what_they_promise_of_data_that_nobody_has_seen(factor: float) -> None:
    data = Columns(40_000, noise=1.0)
    levels = [0.1, 0.3, 0.5, 0.9]
    task = forecaster(COLUMNS, output={"quantiles": levels}, **RESIDUAL)
    task.initialize(data)
    task.head.output.project.bias.data *= factor  # too narrow, too wide

    def covered(windows: WindowDataset) -> np.ndarray:  # by step and column
        batch = all_of(windows)
        assert batch.targets is not None
        made = task(batch).view(len(batch), H, K, 4).sort(-1).values
        targets = batch.targets.view(len(batch), H, K)
        return ((made[..., 0] <= targets) & (targets <= made[..., -1])).float().mean(0).numpy()

    fresh, seen = data.windows(20_000, 40_000), data.windows(200, 19_000)
    before, median = covered(fresh), task(all_of(fresh)).view(-1, H * K, 4).sort(-1).values[..., 2]
    assert np.abs(before - 0.8).min() > 0.1
    assert task.intervals is not None
    task.intervals.fit(
        (task(batch).view(-1, H, K, 4), batch.targets.view(-1, H, K))  # type: ignore[union-attr]
        for batch in task.some_of(seen)
    )
    np.testing.assert_allclose(covered(fresh), 0.8, atol=0.02)
    again = task(all_of(fresh)).view(-1, H * K, 4).sort(-1).values
    torch.testing.assert_close(again[..., 2], median)
    assert task.intervals.covered.item() == pytest.approx(before.mean(), abs=0.02)


def sales(effect: float, rows: int = 400, ahead: int = H) -> dict[str, list[float | None]]:
    """Sales that a planned price moves by its distance from the usual one, at its own step."""
    random = np.random.default_rng(0)
    price, noise = random.normal(size=rows + ahead), random.normal(size=rows + ahead)
    y = lfilter([1.0], [1.0, -0.7], 0.3 * noise) + effect * price
    return {"y": [*y[:rows].tolist(), *[None] * ahead], "price": price.tolist()}


def begun(table: dict, **options: object) -> tuple[Windows, Forecaster]:
    """A forecaster of sales as it begins."""
    data = Windows(table, "y", window=W, horizon=H, period=1, **options)  # type: ignore[arg-type]
    data.setup()
    task = forecaster(data.spec, **RESIDUAL)
    task.initialize(data)
    return data, task


def mse_of(data: Windows, task: Forecaster) -> float:
    batch = all_of(data.datasets["test"])
    assert batch.targets is not None
    return (task(batch) - batch.targets).square().mean().item()


def test_a_forecast_uses_what_is_known_in_advance_where_it_matters() -> None:
    matters, noise = sales(2.0), sales(0.0)
    with_it = [mse_of(*begun(table, future_inputs=["price"])) for table in (matters, noise)]
    plain = [
        {name: column[:-H] for name, column in table.items()} for table in (matters, noise)
    ]  # without the rows that only the price has
    without = [mse_of(*begun(table, inputs=["price"])) for table in plain]
    assert with_it[0] < without[0] / 5 and with_it[1] < without[1] * 1.05


def test_a_price_moves_the_forecast_of_its_own_step() -> None:
    table = sales(2.0)
    data, task = begun(table, future_inputs=["price"])
    price = table["price"]
    made = []
    for step in range(H + 1):  # the last time as it was
        changed = [p + (n == len(price) - H + step) for n, p in enumerate(price)]  # type: ignore[operator]
        given = as_file({**table, "price": changed}, "table")
        made.append(task.forecast(data.batch_of([*data.read_inputs(given)]))[0, :, 0].detach())
    moved = torch.stack([each - made[-1] for each in made[:-1]])
    torch.testing.assert_close(moved, 2.0 * torch.eye(H), atol=0.2, rtol=0)


@pytest.mark.parametrize("future", [False, True])
def test_of_many_columns_a_linear_path_reads_the_newest_steps_of_those_known_in_advance(
    future: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.tasks.forecasting.linear_path.FEATURES", W + 5)
    spec = {**SPEC, "columns": ["y", "z", "u", f"v in {H} steps"]}
    spec["future_inputs"] = ["v"] if future else []
    task, batch = forecaster(spec, base="linear"), batch_of()
    scaled = task.linear.read(batch, torch.zeros(B, 1, K), torch.ones(B, 1, K))
    read = task.linear.of_each(scaled)
    beside = batch.inputs[..., K:].flatten(1)[:, -5 if future else W * C :]
    assert read.shape == (B, K, task.linear.in_features)
    for k in range(K):
        torch.testing.assert_close(read[:, k, :W], batch.inputs[..., k])
        assert not future or read[:, k, W:].equal(beside)
    assert task.linear.in_features == (W + 5 if future else W)


# ---------------------------------------------------------------- whole runs


@pytest.fixture
def waves(tmp_path: Path) -> Path:
    """Two series of hourly values with a period of 6 and some noise."""
    random, rows = np.random.default_rng(0), ["at,id,y,x"]
    for series, size in (("a", 3.0), ("b", 40.0)):
        for n in range(150):
            y = size * (np.sin(2 * np.pi * n / 6) + random.normal(0, 0.05)) + size
            rows.append(f"2024-01-{1 + n // 24:02d} {n % 24:02d}:00,{series},{y:.4f},{n % 6}")
    (tmp_path / "waves.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "waves.csv"


def words(file: Path, *more: str) -> tuple[str, ...]:
    return (
        "model=forecaster",
        "data=windows",
        f"data.file={file}",
        "data.target=y",
        "data.time=at",
        "data.series=id",
        "data.window=12",
        "data.horizon=4",
        "data.batch_size=16",
        "model.encoder.hidden_size=16",
        *more,
    )


@pytest.mark.parametrize(
    "more",
    [
        (
            *("data.inputs=[x]", "model.output.quantiles=[0.1,0.5,0.9]", "model.segment=3"),
            *("model.base=linear", "model.instance_norm=last", "model.channel_independent=true"),
        ),
        ("model.head=every_step", "model.dropout=0.0"),
    ],
    ids=["direct", "recursive"],
)
@pytest.mark.slow
def test_a_run_beats_the_naive_ones_and_continues_a_file(
    config: Config, waves: Path, more: tuple[str, ...], tmp_path: Path
) -> None:
    result = train(config(*words(waves, *more, "trainer.max_epochs=40", "data.period=null")))
    mase, naive = result["metrics"]["test/mase"], result["baselines"]["test/mase"]
    assert result["config"]["data"]["period"] is None and "seasonal naive, period 6" in naive
    assert mase < naive["naive"] / 2
    assert (tmp_path / "run" / "figures" / "forecasts.png").is_file()
    run = load_run(tmp_path / "run")
    lines = [*run.predict(run.data.read_inputs(str(waves)), str(waves))]
    assert [line["series"] for line in lines] == ["a", "b"]
    assert lines[0]["time"] == [f"2024-01-07 {hour:02d}:00" for hour in (6, 7, 8, 9)]
    made = lines[1]["y"]["0.5"] if "data.inputs=[x]" in more else lines[1]["y"]
    expected = [40 * np.sin(2 * np.pi * n / 6) + 40 for n in range(150, 154)]
    np.testing.assert_allclose(made, expected, atol=12)
    metrics = run.evaluate(file=str(waves))  # of which training saw the most
    assert metrics["file/mase"] < naive["naive"] / 2
    assert run.evaluate()["test/mase"] == pytest.approx(mase, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["last_hidden", "every_step"])
def test_resumed_it_is_the_uninterrupted_run(
    script: Script, waves: Path, tmp_path: Path, head: str
) -> None:
    given = words(waves, f"model.head={head}", "trainer=cpu", "trainer.max_epochs=3")
    resumes(script, tmp_path, *given, "baseline=false", step=13)


def test_two_processes_see_each_window_once(waves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Windows(str(waves), "y", series="id", time="at", window=12, horizon=4, batch_size=7)
    data.setup()

    def targets(rank: int, processes: int) -> list[str]:
        monkeypatch.setattr(Windows, "process", (rank, processes))
        return [str(row) for batch in data.test_dataloader() for row in batch.targets]

    assert sorted(targets(0, 2) + targets(1, 2)) == sorted(targets(0, 1))
    assert targets(0, 2) and targets(1, 2)


@pytest.mark.long  # that of a tagger is the short form
def test_two_processes_measure_as_one(process: Script, waves: Path, tmp_path: Path) -> None:
    given = words(waves, "baseline=false", "trainer.max_epochs=1", "model.optimizer.lr=1e-9")
    metrics = []
    for name, trainer in (("one", "cpu"), ("two", "ddp_sim")):
        process("train.py", *given, f"trainer={trainer}", f"folder={tmp_path / name}")
        metrics.append(result_of(tmp_path / name)["metrics"])
        shutil.rmtree(tmp_path / name)
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-4)


@pytest.mark.parametrize(
    ("words_", "message"),
    [
        (("data.inputs=[x]", "model.head=every_step"), "without data.inputs"),
        (("model=regressor",), "has the next values for each sequence, and Regressor learns"),
        (("data.target=w",), "no column 'w': set data.target; choose one of at, id, x, y"),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_one_line(
    config: Config, waves: Path, words_: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(config(*words(waves), *words_))


def test_all_weights_of_a_forecaster_besides_the_network_may_be_averaged() -> None:
    task = forecaster(base="linear", instance_norm="standard", segment=2)
    known = ("embedding.", "encoder.", "head.", "linear.")
    assert all(name.startswith(known) for name, _ in task.named_parameters())
