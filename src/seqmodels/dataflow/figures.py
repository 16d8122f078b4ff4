"""Draw how much each input step contributes to the logits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

RELATIVE = "relative to uniform (1 = an average step)"


def contributions(
    before: np.ndarray,
    after: np.ndarray,
    lengths: Sequence[int],
    picture: Path,
    *,
    backwards: bool,
) -> None:
    """Draws how much each input step contributes to the logits: in each row, after training; and
    on average, before and after.

    Args:
        before, after: `(B, T)`: shares; those of a row sum to 1.
        backwards: count the steps back from the last one, as for a language model's last logits.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    rows_axes, mean_axes = figure.subplots(1, 2)
    order, sizes = np.argsort(lengths)[::-1], np.array(lengths)[:, None]
    if backwards:
        before, after = before.copy(), after.copy()
        for shares, (row, length) in product((before, after), enumerate(lengths)):
            shares[row, :length] = shares[row, :length][::-1].copy()
    valid = np.arange(sizes.max()) < sizes
    image = rows_axes.imshow(
        # times the length, because a uniform share is 1 / length
        np.where(valid, after[:, : sizes.max()] * sizes, np.nan)[order],
        aspect="auto",
        cmap="Greens",
        norm="log" if backwards else "linear",
        interpolation="nearest",
    )
    figure.colorbar(image, ax=rows_axes, label=RELATIVE)
    rows_axes.set_yticks(range(len(lengths)), [f"{lengths[row]} steps" for row in order])
    xlabel = "steps back from the prediction" if backwards else "step"
    rows_axes.set(title="each sequence, after training", xlabel=xlabel)
    grid = np.linspace(0, 1, 50)
    for shares, name, style in ((before, "before", "--"), (after, "after", "-")):
        if backwards:
            mean_axes.semilogy(shares.mean(axis=0)[: min(lengths)], style, label=name, marker=".")
            continue
        curves = [
            np.interp(grid, (np.arange(n) + 0.5) / n, row[:n] * n)
            for row, n in zip(shares, lengths, strict=True)
        ]
        mean_axes.plot(100 * grid, np.mean(curves, axis=0), style, label=name)
    if backwards:
        mean_axes.set(title="mean", xlabel=xlabel, ylabel="share of the gradient")
    else:
        mean_axes.axhline(1, color="grey", linewidth=0.8, linestyle=":", label="uniform")
        mean_axes.set(title="mean", xlabel="per cent of the way from the first step to the last")
        mean_axes.set(ylabel=RELATIVE, ylim=(0, None))
    mean_axes.legend(title="training")
    mean_axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
