"""Forecasts: all at once or step by step, in their own units, by the errors of a hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import mean_pinball_loss

from seqmodels.batch import SequenceBatch
from seqmodels.engine.contract import Sums
from seqmodels.errors import UserError
from seqmodels.runs import load_run, train
from seqmodels.tasks.forecasting import Forecaster, Windows
from seqmodels.tasks.forecasting.networks import shift
from seqmodels.tasks.forecasting.task import draw_forecasts
from tests.conftest import Config, Script
from tests.make import batch_for, build_task, scale_for
from tests.measured import measured_of
from tests.runs.resumed import resumes

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
QUANTILES_WORD = "model.output.quantiles=[0.1,0.5,0.9]"


def forecaster(spec: dict = SPEC, **options: Any) -> Forecaster:
    return build_task(Forecaster, spec, hidden_size=6, **options)


def stepwise(**options: Any) -> Forecaster:
    return forecaster(STEPWISE, head="every_step", **options)


def windows_with_gaps(task: Forecaster) -> SequenceBatch:
    """Windows of which two lack some of their targets."""
    batch = batch_for(task, [W] * B)
    batch.targets[0, 3] = batch.targets[2, :2] = torch.nan
    return batch


def own_units(values: torch.Tensor) -> torch.Tensor:
    """Standardised `(B, H, K)` in their own units, row by row."""
    rows = []
    for n, row in enumerate(values):
        series = n % S
        deviation, mean = (torch.tensor(SPEC[k][series][:K]) for k in ("deviation", "mean"))  # type: ignore[index]
        rows.append(row.double() * deviation + mean)
    return torch.stack(rows)


def by_hand(task: Forecaster, batch: SequenceBatch) -> torch.Tensor:
    """The standardised forecasts `(B, H, K)` of a task that reads `last_hidden`, window by window
    and column by column."""
    windows, size = [], task.hparams["segment"]
    for row in batch.inputs:
        read, beside = row[:, :K], row[:, K:]
        level = read[-1] if task.hparams["norm"] == "last" else torch.zeros(K)
        made = torch.zeros(H, K)
        for column in range(K):
            steps = torch.cat([(read - level)[:, [column]], beside], dim=1)
            missing = -len(steps) % size
            steps = torch.cat([steps[:1]] * missing + [steps]).reshape(-1, size * steps.shape[1])
            output, _ = task.network.encoder.rnn(steps)
            made[:, column] = task.network.head.output.project(output[-1])
        windows.append(made + level)
    return torch.stack(windows)


@pytest.mark.parametrize(
    "reading", [{"segment": 3}, {"segment": 5}, {"norm": None, "segment": 1}], ids=str
)
def test_direct_forecasts_equal_those_by_hand_and_read_no_padding(reading: dict) -> None:
    task = forecaster(dropout=0.0, **reading)
    batch = windows_with_gaps(task)
    standardised = by_hand(task, batch)
    expected = own_units(standardised)
    torch.testing.assert_close(task(batch), standardised.flatten(1))
    torch.testing.assert_close(task.forecast(batch), expected)
    step = task.step(batch)
    assert batch.targets is not None
    known = ~batch.targets.isnan()
    errors = (standardised.flatten(1) - batch.targets).view(B, H, K)
    expected_loss = errors.flatten(1)[known].abs().mean().item()
    assert step.score.loss.item() == pytest.approx(expected_loss, rel=1e-5)
    assert int(step.score.weight) == int(known.sum()) == B * H * K - 3
    measured, off = measured_of(task, batch), (standardised.flatten(1) - batch.targets)[known]
    assert measured["standardised_mse"] == pytest.approx(off.square().mean().item(), rel=1e-5)
    assert measured["standardised_mae"] == pytest.approx(off.abs().mean().item(), rel=1e-5)
    step.score.loss.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in task.parameters())
    lengths = torch.tensor([W, 5, 1, 4, W - 1])
    junk = batch.inputs.masked_fill(torch.arange(W)[:, None] >= lengths[:, None, None], 1e3)
    made = task(SequenceBatch(junk, lengths))
    for row, length in enumerate(lengths.tolist()):
        alone = SequenceBatch(batch.inputs[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(made[row : row + 1], task(alone))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recursive_forecasts_equal_a_loop_by_hand(cell: str) -> None:
    task = stepwise(encoder={"cell": cell, "num_layers": 2})
    batch = windows_with_gaps(task)
    project, steps = task.network.head.output.project, batch.inputs
    for _ in range(H):  # everything is read again
        output, _ = task.network.encoder.rnn(steps)
        following = project(output[:, -1]) + steps[:, -1]
        steps = torch.cat([steps, following.unsqueeze(1)], dim=1)
    expected = own_units(steps[:, W:])
    # They are float64 for their level's sake, but what the network adds is float32, and reading
    # steps one by one rounds otherwise than reading them at once.
    torch.testing.assert_close(task.forecast(batch), expected, rtol=1.3e-6, atol=1e-5)
    step = task.step(batch)
    assert batch.targets is not None
    difference = steps[:, W:] - batch.targets.view(B, H, K)
    assert step.score.loss.item() == pytest.approx(difference.abs().nanmean().item(), rel=1e-5)


def test_it_learns_the_next_value_at_every_step() -> None:
    task = stepwise(dropout=0.0).train()
    batch = windows_with_gaps(task)
    assert batch.targets is not None
    ahead = batch.targets.view(B, H, K)
    whole = torch.cat([batch.inputs, ahead], dim=1)
    filled, following = whole.clone(), whole[:, 1:]
    for row, step, value in whole.isnan().nonzero().tolist():
        filled[row, step, value] = filled[row, step - 1, value]
    output, _ = task.network.encoder.rnn(filled[:, :-1])
    made = task.network.head.output.project(output) + filled[:, :-1]
    step = task.step(batch)
    expected = (made - following).abs().nanmean().item()
    assert step.score.loss.item() == pytest.approx(expected, rel=1e-5)
    errors = (own_units(made[:, -H:]) - own_units(ahead)).abs()
    sums = Sums()
    sums.add(step)
    found = task.measured(sums)
    assert found["mae"].item() == pytest.approx(errors.nanmean().item(), rel=1e-5)


def test_step_by_step_it_does_not_learn_values_that_the_window_lacks() -> None:
    task = stepwise(dropout=0.0).train()
    batch = windows_with_gaps(task)
    assert batch.targets is not None
    ahead = batch.targets.view(B, H, K)
    known = torch.rand(B, W - 1, K, generator=torch.Generator().manual_seed(1)) > 0.4
    window = batch.inputs[:, 1:].where(known, torch.nan)
    with_window = replace(batch, targets=torch.cat([window, ahead], dim=1).flatten(1))
    read, following = shift(batch.inputs, ahead)
    output, _ = task.network.encoder.rnn(read)
    errors = (task.network.head.output.project(output) + read - following).abs()
    is_learned = torch.cat([known, ~ahead.isnan()], dim=1)
    expected = errors[is_learned].mean().item()
    assert task.step(with_window).score.loss.item() == pytest.approx(expected, rel=1e-5)
    forecasts = [task.eval().step(each).score.decision for each in (batch, with_window)]
    assert torch.equal(*forecasts)


def test_windows_with_gaps_say_which_of_their_values_were_missing(tmp_path: Path) -> None:
    values = np.arange(60, dtype=float)
    values[[5, 17, 40]] = np.nan
    pd.DataFrame({"y": values}).to_csv(tmp_path / "gaps.csv", index=False)
    data = Windows(str(tmp_path / "gaps.csv"), "y", window=W, horizon=H, missing="last")
    data.setup()
    dataset = data.datasets["train"]
    batch = dataset.__getitems__([*range(len(dataset))])
    assert batch.targets is not None
    steps = np.arange(len(dataset))[:, None] + np.arange(1, W + H)
    assert np.array_equal(batch.targets.isnan().numpy(), np.isnan(values[steps]))


def test_quantiles_are_restored_and_scored_in_own_units() -> None:
    task = forecaster(output={"quantiles": QUANTILES})
    batch = windows_with_gaps(task)
    made = (
        task.network.head(task.network.encode(batch))
        .view(B, K, H, 3)
        .transpose(1, 2)
        .sort(-1)
        .values
    )
    made = made + batch.inputs[:, -1, :K].view(B, 1, K, 1)
    expected = torch.stack([own_units(each) for each in made.unbind(-1)], dim=-1)
    torch.testing.assert_close(task.forecast(batch), expected)
    rows = task.describe(SequenceBatch(batch.inputs, batch.lengths, scale=batch.scale))
    assert [*rows[1]] == ["y", "z"] and [*rows[1]["z"]] == ["0.1", "0.5", "0.8"]
    np.testing.assert_allclose(rows[1]["z"]["0.8"], expected[1, :, 1, 2].detach(), rtol=1e-5)
    assert batch.targets is not None
    targets, known = own_units(batch.targets.view(B, H, K)), ~batch.targets.isnan()
    measured, flat = measured_of(task, batch), targets.flatten(1)[known]
    losses = [
        mean_pinball_loss(flat, expected.flatten(1, 2)[known][:, n].detach(), alpha=level)
        for n, level in enumerate(QUANTILES)
    ]
    assert measured["pinball"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("head", ["last_hidden", "every_step"])
def test_scores_keep_the_digits_of_a_large_level(head: str) -> None:
    spec = STEPWISE if head == "every_step" else SPEC
    scales = {"deviation": [[0.5] * C] * S, "naive_error": [[1.0] * K] * S}
    specs = [{**spec, **scales, "mean": [[mean] * C] * S} for mean in (0.0, 1e8)]
    small, large = (forecaster(each, head=head) for each in specs)
    large.load_state_dict(small.state_dict())
    batch = windows_with_gaps(small)
    expected, found = (
        measured_of(task, replace(batch, scale=scale_for(spec, B)))
        for task, spec in zip((small, large), specs, strict=True)
    )
    assert expected["rmse"] > 0.1 and found == pytest.approx(expected, rel=1e-5)


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
    data = f"data=windows data.file={file} data.target=y data.time=at data.series=id"
    sizes = "data.window=12 data.horizon=4 data.batch_size=16 model.encoder.hidden_size=16"
    return ("model=forecaster", *data.split(), *sizes.split(), *more)


@pytest.mark.parametrize(
    "more",
    [
        ("data.inputs=[x]", QUANTILES_WORD, "model.segment=3"),
        ("model.head=every_step", "model.dropout=0.0"),
    ],
)
@pytest.mark.slow
def test_a_run_beats_the_naive_ones_and_continues_a_file(
    config: Config, waves: Path, more: tuple[str, ...], tmp_path: Path
) -> None:
    result = train(config(*words(waves, *more, "trainer.max_epochs=40", "model.optimizer.lr=1e-2")))
    mase, naive = result["metrics"]["test/mase"], result["baselines"]["test/mase"]
    assert "seasonal naive, period 24" in naive  # a day of hours
    assert mase < naive["naive"] / 2
    assert (tmp_path / "run" / "figures" / "forecasts.png").is_file()
    run = load_run(tmp_path / "run")
    lines = [*run.predict(run.data.read_inputs(str(waves)), str(waves))]
    assert [line["series"] for line in lines] == ["a", "b"]
    assert lines[0]["time"] == [f"2024-01-07 {hour:02d}:00:00" for hour in (6, 7, 8, 9)]
    made = lines[1]["y"]["0.5"] if "data.inputs=[x]" in more else lines[1]["y"]
    expected = [40 * np.sin(2 * np.pi * n / 6) + 40 for n in range(150, 154)]
    np.testing.assert_allclose(made, expected, atol=12)
    metrics = run.evaluate(file=str(waves))  # of which training saw the most
    assert metrics["file/mase"] < naive["naive"] / 2
    assert run.evaluate()["test/mase"] == pytest.approx(mase, rel=1e-5)


@pytest.mark.parametrize("head", ["last_hidden", "every_step"])
def test_a_run_forecasts_series_that_it_never_saw_in_their_own_units(
    config: Config, waves: Path, tmp_path: Path, head: str
) -> None:
    train(config(*words(waves, f"model.head={head}", "trainer.max_epochs=1", "baseline=false")))
    run, time = load_run(tmp_path / "run"), np.arange(60)
    y = np.sin(time) + time / 40
    tables = {
        name: {"at": pd.date_range("2024-01-01", periods=60, freq="h"), "id": name, "y": values}
        for name, values in {"c": y, "d": 1000 * y + 7}.items()
    }
    both = pd.concat(map(pd.DataFrame, tables.values()))
    c, d = run.predict(both)
    assert (c["series"], d["series"]) == ("c", "d")
    np.testing.assert_allclose(d["y"], 1000 * np.array(c["y"]) + 7, rtol=1e-4)
    [of_array] = run.predict([y[:, None]])
    assert of_array.keys() == {"y"}  # An array has neither a name nor times.
    np.testing.assert_allclose(of_array["y"], c["y"], rtol=1e-4)
    of_c, of_d = (run.evaluate(file=pd.DataFrame(tables[name])) for name in "cd")
    assert of_c["file/mase"] == pytest.approx(of_d["file/mase"], rel=1e-4)
    assert of_d["file/mae"] == pytest.approx(1000 * of_c["file/mae"], rel=1e-4)
    if head == "every_step":
        with pytest.raises(UserError, match="can't stream: each series is scaled by its own"):
            run.stream()


@pytest.mark.slow
@pytest.mark.parametrize("head", ["last_hidden", "every_step"])
def test_resumed_it_is_the_uninterrupted_run(
    script: Script, waves: Path, tmp_path: Path, head: str
) -> None:
    given = words(waves, f"model.head={head}", "trainer=cpu", "trainer.max_epochs=3")
    resumes(script, tmp_path, *given, "baseline=false", step=13)


def test_step_by_step_there_are_no_other_columns_and_no_quantiles() -> None:
    with pytest.raises(UserError, match="model.head=every_step .* data.inputs: leave"):
        forecaster(head="every_step")
    with pytest.raises(UserError, match="model.head=every_step .*quantiles: leave"):
        stepwise(output={"quantiles": QUANTILES})


@pytest.mark.parametrize("make", [forecaster, stepwise])
def test_it_learns_by_absolute_errors_unless_another_is_named(make: Any) -> None:
    losses = {}
    for error in (None, "mae", "mse"):
        task = make(output={"error": error})
        losses[error] = task.step(windows_with_gaps(task)).score.loss.item()
    assert losses[None] == losses["mae"] != losses["mse"]


def test_the_default_forecaster_trains_on_a_period_without_noise(config: Config) -> None:
    table = {"y": [np.sin(2 * np.pi * n / 9).item() for n in range(300)]}
    windows = "data=windows data.target=y data.window=27 data.horizon=9"
    given = ("model=forecaster", *windows.split(), "data.period=9", "trainer.max_epochs=2")
    # a period is as the one before, but for rounding: a deviation is what errors are divided by
    assert train(config(*given), data={"file": table})["metrics"]["test/mase"] < 2


@pytest.mark.parametrize(
    ("values", "rows", "panels"),
    [(["y"], 5, [0] * 5), (["y", "z"], 5, [0, 1]), (["y", "z"], 1, [0, 1])],
)
def test_a_picture_has_each_column_once_or_one_column_at_several_origins(
    values: list[str], rows: int, panels: list[int]
) -> None:
    """Each panel shows its own column, in its own units, with the names of both."""
    scales = {name: [row[: len(values)] for row in SPEC[name]] for name in ("naive_error",)}
    task = forecaster({**SPEC, **scales, "values": values})
    batch = batch_for(task, [W] * rows)
    names = [{"series": f"s{row}"} for row in range(rows)]
    figure = draw_forecasts(task, batch, names)
    came = task.restore(task.network.targets_ahead(batch), batch)  # (B, H, K)
    forecast = task.forecast(batch).detach()
    assert len(figure.axes) == len(panels)
    for panel, (column, axes) in enumerate(zip(panels, figure.axes, strict=True)):
        row = panel % rows
        assert axes.get_title() == f"s{row} {values[column]}"
        np.testing.assert_array_equal(axes.lines[1].get_ydata(), came[row, :, column])
        np.testing.assert_array_equal(axes.lines[2].get_ydata(), forecast[row, :, column])
