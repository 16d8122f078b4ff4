"""data.scale=auto chooses by the training split how to scale series."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqmodels.data import Classes, Examples, Series, Values
from seqmodels.errors import UserError
from tests.data.test_targets import Made


def by_level_or_shape(which: str) -> Examples:
    """Two classes of series of different lengths: of another level, or another frequency whatever
    the level and the amplitude."""
    random = np.random.default_rng(0)
    series, labels = [], []
    for number in range(40):
        label, steps = number % 2, np.arange(random.integers(30, 50))
        cycle = 4 if label and which == "shape" else 9
        wave = np.sin(2 * np.pi * (steps / cycle + random.random()))
        level, size = (label, 1.0) if which == "level" else np.exp(random.normal(0, 4, 2))
        series.append((level + size * (wave + random.normal(0, 0.3, len(steps))))[:, None])
        labels.append(f"class {label}")
    return Examples(series, labels, "made")


@pytest.mark.parametrize(("which", "scale"), [("level", "split"), ("shape", "series")])
def test_the_scale_is_chosen_by_what_tells_the_classes(which: str, scale: str) -> None:
    examples = by_level_or_shape(which)
    splits = dict.fromkeys(("train", "validation", "test"), examples)
    torch.manual_seed(3)
    data, again = (Made(splits, Series(scale="auto", fold=2), Classes()) for _ in range(2))
    data.setup()
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)  # it leaves random numbers alone
    assert data.inputs.scale == scale and data.inputs.folded == 2
    assert [note for note in data.notes if note.startswith(f"data.scale=auto is scale={scale} ")]
    again.use_spec(data.spec)
    again.setup()
    assert again.inputs.scale == scale and not again.inputs.note  # not chosen again
    chosen = Series(scale=scale, add_scale=data.inputs.add_scale, fold=2)
    chosen.fit(examples.inputs)
    rows = (data.datasets, again.datasets)
    for *made, wanted in zip(
        *(each["test"].sequences for each in rows), chosen.encode(examples.inputs, "x")
    ):
        assert all(torch.equal(each, wanted) for each in made)
    assert data.spec["num_inputs"] == chosen.num_inputs


def test_the_scale_is_chosen_for_numbers_and_not_for_steps() -> None:
    made = by_level_or_shape("shape")
    numbers = [2.0 * (label == "class 1") for label in made.targets]
    encoder, targets = Series(scale="auto"), Values()
    targets.fit(numbers, "x")
    encoder.fit(made.inputs)
    with pytest.raises(RuntimeError, match="call choose first"):
        encoder.encode(made.inputs, "x")
    with pytest.raises(UserError, match=r"scale=auto needs one target for each series.* set data"):
        encoder.choose(made.inputs, lambda: [torch.zeros(3, 1)])
    encoder.choose(made.inputs, lambda: targets.encode([*numbers[:-1], None], "x"))
    assert encoder.scale == "series"
