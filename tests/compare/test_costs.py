"""Quality beside cost: which settings nothing beats, and how they are drawn."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from seqmodels.compare.costs import compared_costs, unbeaten
from seqmodels.compare.tables import table
from tests.compare.conftest import Runs


def beats(one: tuple[float, float], other: tuple[float, float], sign: int) -> bool:
    no_worse = one[0] <= other[0] and sign * one[1] >= sign * other[1]
    return no_worse and one != other


@pytest.mark.parametrize(("seed", "higher_is_better"), [*product(range(20), (True, False))])
def test_the_front_is_what_no_other_point_beats(seed: int, higher_is_better: bool) -> None:
    random = np.random.default_rng(seed)  # few values, so that there are ties
    points = [(float(c), float(m)) for c, m in random.integers(0, 6, (12, 2))]
    sign = 1 if higher_is_better else -1
    front = unbeaten(dict(enumerate(points)), higher_is_better=higher_is_better)
    assert set(front) == {
        n for n, point in enumerate(points) if not any(beats(o, point, sign) for o in points)
    }
    assert [points[n][0] for n in front] == sorted(points[n][0] for n in front)
    assert unbeaten({}, higher_is_better=higher_is_better) == []


def test_the_picture_names_what_nothing_beats(runs: Runs) -> None:
    for head, accuracy, seconds, parameters in (
        ("cheap", 0.7, 1.0, 500),
        ("slow", 0.8, 9.0, 100),
        ("good", 0.9, 3.0, 900),
    ):
        for seed in range(3):
            cost = {"seconds": {"fit": seconds + seed / 10}, "parameters": parameters}
            runs.add(head, seed, accuracy + seed / 100, result=cost)
    by_time, below_time, by_size, below_size = compared_costs(runs.compare()).axes
    assert (by_time.get_xlabel(), by_size.get_xlabel()) == ("seconds of training", "parameters")
    for below, names in (
        (below_time, ["1  cheap", "2  good"]),
        (below_size, ["1  slow", "2  good"]),
    ):
        legend = below.get_legend()
        assert legend is not None
        assert legend.get_title().get_text() == "Nothing cheaper is as good as:"
        assert [text.get_text() for text in legend.get_texts()] == names
    [front] = [line for line in by_time.lines if line.get_linestyle() == "--"]
    assert np.allclose(front.get_xdata(), [1.1, 3.1]) and np.allclose(front.get_ydata(), [71, 91])
    assert {text.get_text() for text in by_time.texts} == {"1", "2"}


@pytest.mark.pictures
def test_runs_that_do_not_say_what_they_cost_are_not_drawn(runs: Runs) -> None:
    for seconds in (math.inf, -1.0, 0.0):
        runs.add("max_pool", 0, result={"seconds": {"fit": seconds}})
    figure = compared_costs(runs.compare())
    assert not any(np.size(line.get_xdata()) for axes in figure.axes for line in axes.lines)
    legends = [axes.get_legend() for axes in figure.axes[1::2]]
    assert {legend.get_title().get_text() for legend in legends if legend} == {
        "These runs don't say what they cost."
    }
    figure.savefig(runs.folder / "figure.png")


def test_parameters_that_all_settings_share_are_not_drawn(runs: Runs) -> None:
    def drawn() -> list[str]:
        figure = compared_costs(runs.compare(different_data=True))
        return [axes.get_xlabel() for axes in figure.axes[::2]]

    for number, head in enumerate(("max_pool", "mean_pool")):
        runs.add(head, 0, 0.9, result={"seconds": {"fit": 1.0 + number}})
    assert drawn() == ["seconds of training"]
    for number, head in enumerate(("max_pool", "mean_pool")):
        data: Any = {"fingerprint": "other", "data": {"file": "other"}}
        runs.add(head, 0, 0.9, **data, result={"parameters": 10 + number})
    assert drawn() == ["seconds of training"] * 2 + ["parameters"]


def test_a_resumed_run_does_not_look_cheap(runs: Runs) -> None:
    # its seconds are those since it was resumed
    runs.add("max_pool", 0, 0.7, result={"seconds": {"fit": 0.1}, "resumed": [{}]})
    runs.add("mean_pool", 0, 0.9, result={"seconds": {"fit": 9.0}})
    comparison = runs.compare()
    legend = compared_costs(comparison).axes[1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["1  mean_pool"]
    _, _, resumed = table(comparison, comparison.sections[0])
    assert resumed[0] == "max_pool" and resumed[-1] == "-"
