"""`figures/words.html` and `steps.png`: which words and steps count for what was predicted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.data import Series
from seqmodels.data.inputs import DrawnChannel
from seqmodels.data.loading import collate
from seqmodels.data.series_inputs import stack_steps
from seqmodels.dataflow import attribute
from seqmodels.dataflow.steps import (
    ROWS_UNDER_TITLE,
    attributed,
    caption,
    draw_row,
    log_odds,
    pictures_of_steps,
)
from tests.conftest import Script
from tests.predictions import rows_of
from tests.shipped import exported

WORDS = ("train.py", "data=text", "model.head=mean_pool", "trainer=cpu", "baseline=false")
FILM = ("data.train=reviews.csv", "trainer.max_epochs=1", "folder=run")
TAGGED = "one NUM\nfilm NOUN\n\nis VERB\nold ADJ\nfilm NOUN\n\n" * 20


def test_a_token_counts_what_leaving_it_out_changes() -> None:
    """A network whose log-odds are known: the sum of a weight for each token."""
    weights = torch.tensor([0.0, 9.0, 2.0, -1.0, 0.5])

    def logits(inputs: Tensor, lengths: Tensor) -> Tensor:
        there = torch.arange(inputs.shape[1]) < lengths[:, None]
        total = (weights[inputs] * there).sum(dim=1)
        return log_odds(torch.stack([torch.zeros_like(total), total], dim=1))

    def left_out(tokens: list[int]) -> list[float]:
        how: Any = {"method": "left_out"}
        return attribute(logits, torch.tensor([tokens]), [len(tokens)], **how)[0].tolist()

    assert left_out([3, 2, 4, 2]) == pytest.approx([-1.0, 2.0, 0.5, 2.0], abs=1e-5)
    assert left_out([3] * 70) == pytest.approx([1.0] * 70, abs=1e-4)
    assert left_out([2]) == [0.0]


def test_log_odds_keep_their_digits() -> None:
    logits = torch.tensor([[0.0, 70.0, 1.0], [3.0, 3.0, -80.0]])
    odds = log_odds(logits)
    for row, values in enumerate(logits.double()):
        for one in range(3):
            others = values[[n for n in range(3) if n != one]]
            assert odds[row, one] == pytest.approx(float(values[one] - others.logsumexp(0)))


def test_texts_and_labels_are_escaped_and_nothing_is_loaded(script: Script, tmp_path: Path) -> None:
    evil = '<script>alert(1)</script> ""x"" \u202e & <img src=x onerror=y>'
    rows = [f'"{evil} {word}","<b>{word}</b>"' for word in ("fine", "dull")] * 30
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    script(*WORDS, *FILM, "data.tokenizer=char", "data.lowercase=false")
    page = (tmp_path / "run" / "figures" / "words.html").read_text()
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    right = {str(row["row"]): row["target"] == row["prediction"] for row in rows}
    for part in page.split("<h2>")[1:]:  # the first that are wrong, or right
        shown = {right[row] for row in re.findall(r"row (\d+),", part)}
        assert shown == {"are right" in part}
    body = page[page.index("<body>") :]
    assert {*re.findall(r"<(\w+)", body)} == {"body", "h1", "h2", "p", "small", "span", "article"}
    assert "\u202e" not in page and "default-src 'none'" in page
    (tmp_path / "new.csv").write_text("\n".join(["text,label", '"so fine!",x']))
    done = script("predict.py", "run=run", "input=new.csv", "attribute=true")
    [line] = map(json.loads, done.stdout.splitlines())
    assert len(line["steps"]) == len("so fine!") and {*map(type, line["steps"])} == {float}
    shown = re.sub(r"<[^>]*>", "", body)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &quot;x&quot; \\u202e &amp;" in shown


def test_words_of_a_regressor_and_a_tagger(script: Script, tmp_path: Path) -> None:
    lines = [f"{'good ' * (n % 5 + 1)}film,{n % 5}" for n in range(40)]
    (tmp_path / "scores.csv").write_text("\n".join(["text,score", *lines]))
    (tmp_path / "tags.txt").write_text(TAGGED)
    quick = ("trainer=cpu", "trainer.max_epochs=1", "baseline=false")
    values = ("model=regressor", "data.train=scores.csv", "data.value_columns=[score]")
    script("train.py", "data=text", *values, *quick, "folder=values")
    script("train.py", "model=tagger", "data=tags", "data.train=tags.txt", *quick, "folder=tags")
    pages = [(tmp_path / run / "figures" / "words.html").read_text() for run in ("values", "tags")]
    losses = {str(row["row"]): row["loss"] for row in rows_of(tmp_path / "values/predictions.csv")}
    largest, smallest = (re.findall(r"row (\d+),", part) for part in pages[0].split("<h2>")[1:])
    assert not {*largest} & {*smallest} and 2 <= len(largest) <= ROWS_UNDER_TITLE
    assert [losses[n] for n in largest] == sorted(losses.values())[::-1][: len(largest)]
    assert [losses[n] for n in smallest] == sorted(losses.values())[: len(smallest)]
    assert re.search(r"row \d+, target NUM NOUN, prediction \w+ \w+, loss", pages[1])
    for page, words in zip(pages, (("good", "film"), ("film", "old", "NUM"))):
        shaded = {*re.findall(r'<span style="[^"]*" title="[+-][^"]*">(.*?)</span>', page)}
        assert shaded == {*words[:2]} | (shaded & {"one", "is"})
        assert 'title="+1.00"' in page or 'title="-1.00"' in page


# ---------------------------------------------------------------- series


def after_a_test(kind: str, head: str, count: int = 20) -> tuple[Any, Any]:
    """An untrained task and its test split of series, of which it has told as a test does."""
    draw = np.random.default_rng(0)
    lengths = [int(n) for n in draw.integers(1, 30, count)]
    sequences = [torch.from_numpy(draw.normal(size=(n, 2))).float() for n in lengths]
    data: dict[str, Any] = {"inputs": "features", "num_inputs": 2}
    data |= {"values": ["load"], "mean": [0.0], "deviation": [1.0]}
    if kind != "Regressor":
        data["classes"] = ["$a$", "b"]
    task = exported(kind)(data, {"hidden_size": 4}, head)
    task.told = {
        n: {"row": 1 + n, "loss": float(draw.random()), "target": "b", "prediction": "b"}
        for n in range(count)
    }
    for n, row in task.told.items():
        if kind == "Regressor":
            row |= {"target.load": 1.0, "prediction.load": 1.5}
            del row["target"], row["prediction"]
        elif n % 4 == 0:
            row["prediction"] = "$a$"
        if kind == "Tagger":
            row["target"], row["prediction"] = [row["target"]], [row["prediction"]]

    def batch(rows: list[int]) -> Any:
        return collate([sequences[n] for n in rows])

    encoder = Series(scale="none")
    encoder.fit([sequence.double().numpy() for sequence in sequences])
    found = SimpleNamespace(raw=sequences, lengths=lengths, sequences=sequences, encoder=encoder)
    found.__getitems__ = batch
    return task.eval(), found


CASES = [
    ("SequenceClassifier", "last_hidden", ["wrong", "right"]),
    ("Regressor", "mean_pool", ["largest", "smallest"]),
    ("Regressor", "every_step", ["largest", "smallest"]),
    ("Tagger", "every_step", ["wrong", "right"]),
]


@pytest.mark.pictures
@pytest.mark.parametrize(("kind", "head", "titles"), CASES)
def test_lines_have_dots_as_large_as_their_steps_count(
    kind: str, head: str, titles: list[str]
) -> None:
    task, data = after_a_test(kind, head)
    [(name, figure)] = pictures_of_steps(task, data).items()
    assert name == "steps.png" and isinstance(figure, Figure)
    rows = rows_drawn(figure)
    assert len(rows) == (5 + 6 if "wrong" in titles else 12)
    second_title = len(rows) - 6
    for title, strips in zip(titles, (rows[0], rows[second_title]), strict=True):
        assert title in strips[0].get_title()
    numbers = [int(re.findall(r"row (\d+)", axes.get_title())[0]) - 1 for axes, _ in rows]
    if "wrong" in titles:
        assert {*numbers} == {0, 4, 8, 12, 16, 1, 2, 3, 5, 6, 7}
    for strips, n in zip(rows, numbers, strict=True):
        [counts] = attributed(task, data.__getitems__([n]))
        shares = counts / counts.abs().max()
        assert [axes.get_ylabel() for axes in strips] == ["channel 1", "channel 2"]
        for channel, axes in enumerate(strips):
            [dots], [line] = axes.collections, axes.lines
            np.testing.assert_allclose(line.get_ydata(), data.sequences[n][:, channel])
            values = np.asarray(dots.get_array())
            np.testing.assert_allclose(dots.get_sizes(), 45 * np.abs(values), rtol=1e-5)
            assert len(values) == len(counts)
            for (step, height), value in zip(np.asarray(dots.get_offsets()), values):
                assert height == line.get_ydata()[int(step)]
                assert value == pytest.approx(float(shares[int(step), channel]), abs=1e-3)


def rows_drawn(figure: Figure) -> list[list[Any]]:
    """The strips of each row, of two channels: figures hold them line by line."""
    titled = {}
    for axes in figure.axes:
        place = axes.get_subplotspec()
        if axes.lines:
            row = titled.setdefault((place.colspan.start, place.rowspan.start // 2), [])
            row.append(axes)
    return [titled[place] for place in sorted(titled)]


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("scale", ["split", "both", "none", "series"])
@pytest.mark.parametrize("missing", ["error", "mark"])
def test_a_channel_is_drawn_once_in_its_own_units_with_all_that_is_read_of_it(
    stack: int, scale: Any, missing: Any
) -> None:
    """Ten steps, of two channels with other units and one of texts, which is in between."""
    random = np.random.default_rng(0)
    series = [random.normal(size=(10, 3)) * [1, 1, 1000] + [0, 0, 500] for _ in range(4)]
    for steps in series:
        steps[:, 1] = random.integers(0, 3, 10)
        if missing == "mark":
            steps[4, 0] = np.nan
    encoder = Series(stack=stack, scale=scale, missing=missing)
    encoder.fit(series)
    names = ["speed", "gear", "power"]
    encoder.columns = names
    encoder.categories = [None, ["a", "b", "c"], None]
    for values in ("mean", "deviation"):
        setattr(encoder, values, getattr(encoder, values)[[0, 2]])
    fitted = {"columns": names, "categories": encoder.categories, "marked": encoder.marked}
    fitted |= {"mean": encoder.mean, "deviation": encoder.deviation, "stacked": stack}
    encoder.load(fitted)
    features = encoder.features(series[0])
    if stack > 1:
        features = stack_steps(features, stack)
    amounts = random.normal(size=features.shape)
    channels = encoder.channels_of(features, amounts, 10)
    suffix = " (scaled)" if scale == "series" else ""
    assert [channel.name for channel in channels] == [f"{name}{suffix}" for name in names]
    known = ~np.isnan(series[0])
    for column, channel in enumerate(channels):
        expected = series[0][:, column]
        if scale == "series" and column != 1:
            expected = (expected - np.nanmean(expected)) / np.nanstd(expected)
        given = known[:, column]
        np.testing.assert_allclose(channel.values[given], expected[given], rtol=1e-4, atol=1e-3)
    total = amounts.reshape(-1, encoder.num_inputs // stack)[:10].sum(axis=1)
    assert sum(channel.amounts for channel in channels) == pytest.approx(total)
    # What tells that a speed is unknown belongs to the speed.
    features_of_speed = [0]
    if scale == "both":
        features_of_speed.append(2)  # It is read once more, scaled by the series.
    if missing == "mark":
        features_of_speed.append(encoder.num_inputs // stack - 1)
    unstacked = amounts.reshape(-1, encoder.num_inputs // stack)[:10]
    np.testing.assert_allclose(channels[0].amounts, unstacked[:, features_of_speed].sum(axis=1))


@pytest.mark.pictures
def test_of_many_channels_those_are_drawn_that_count_most_and_titles_stay_inside() -> None:
    channels = [
        DrawnChannel(f"sensor {n}", np.arange(5.0), np.full(5, float(n % 7))) for n in range(8)
    ]
    figure = Figure()
    strips = figure.subplots(4, 1)
    draw_row(strips, channels)
    assert [axes.get_ylabel() for axes in strips] == [f"sensor {n}" for n in (3, 4, 5, 6)]
    assert np.abs(strips[3].collections[0].get_array()).max() == 1
    task, data = after_a_test("SequenceClassifier", "last_hidden")
    for row in task.told.values():
        row |= {"target": "a long name of a class " * 2, "series": "trip 12 of somebody" * 2}
    figure = pictures_of_steps(task, data)["steps.png"]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        box = axes.title.get_window_extent(canvas.get_renderer())
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert axes.title.get_text().count("\n") <= 2


@pytest.mark.pictures
def test_a_row_whose_single_steps_are_rough_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    task, data = after_a_test("SequenceClassifier", "last_hidden")
    for threshold, is_marked in ((-1.0, True), (0.2, False)):
        monkeypatch.setattr("seqmodels.dataflow.steps.ROUGH", threshold)
        figure = pictures_of_steps(task, data)["steps.png"]
        captions = [strips[0].get_title() for strips in rows_drawn(figure)]
        assert all(("~ row" in caption) == is_marked for caption in captions)


@pytest.mark.pictures
def test_a_row_whose_loss_is_not_finite_is_not_shown() -> None:
    task, data = after_a_test("SequenceClassifier", "last_hidden")
    for row in task.told.values():
        row["loss"] = float("nan")
    assert pictures_of_steps(task, data) == {}
    task.told[3]["loss"] = 1.0
    [strips] = rows_drawn(pictures_of_steps(task, data)["steps.png"])
    assert "row 4," in strips[0].get_title()


def test_a_test_without_a_row_to_show_draws_nothing() -> None:
    task, data = after_a_test("SequenceClassifier", "last_hidden")
    told, task.told = task.told, None  # nobody asked for predictions
    assert pictures_of_steps(task, data) == {}
    task.told, data.lengths = told, [10_000] * len(data.lengths)
    assert pictures_of_steps(task, data) == {}
    assert pictures_of_steps(task, SimpleNamespace()) == {}


@pytest.mark.pictures
def test_a_series_with_too_many_numbers_is_not_drawn_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "seqmodels.dataflow.steps")
    task, data = after_a_test("SequenceClassifier", "last_hidden")  # of two features
    monkeypatch.setattr("seqmodels.dataflow.steps.MOST_NUMBERS", 2 * 12)
    figure = pictures_of_steps(task, data)["steps.png"]
    shown_lengths = [len(axes.lines[0].get_ydata()) for axes in figure.axes if axes.lines]
    assert shown_lengths and max(shown_lengths) <= 12 < max(data.lengths)
    assert not caplog.messages
    monkeypatch.setattr("seqmodels.dataflow.steps.MOST_NUMBERS", 1)
    assert pictures_of_steps(task, data) == {}
    [message] = caplog.messages
    assert message.endswith("all rows have more than 2,000 steps or 1 numbers")


def test_a_caption_has_the_loss_and_no_probability_of_each_class() -> None:
    row = {"row": 3, "target": "a", "prediction": "b", "probability": 0.41}
    row |= {"probability.a": 0.3, "probability.b": 0.41, "steps": 9, "loss": 1.2}
    assert caption(row) == "row 3, target a, prediction b, probability 0.41, loss 1.2"
