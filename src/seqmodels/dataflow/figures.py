"""How much each input step counts, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def contributions(
    before: np.ndarray,
    after: np.ndarray,
    lengths: Sequence[int],
    picture: Path,
    *,
    backwards: bool,
) -> None:
    """How much each input step counts for the logits: of each row, after training; and on average,
    before and after.

    Args:
        before, after: `(B, T)`: shares; those of a row sum to 1.
        lengths: of the rows.
        backwards: of the last step's logits, as a language model's: counted back from it.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    rows_axes, mean_axes = figure.subplots(1, 2)
    longest, order = max(lengths), np.argsort(lengths)[::-1]
    if backwards:
        before, after = (
            np.stack(
                [np.pad(r[:n][::-1], (0, longest - n)) for r, n in zip(s, lengths, strict=True)]
            )
            for s in (before, after)
        )
    shown = np.where(np.arange(longest) < np.array(lengths)[:, None], after[:, :longest], np.nan)
    # a share of 1 / length is even: so rows of all lengths can be compared
    image = rows_axes.imshow(
        (shown * np.array(lengths)[:, None])[order],
        aspect="auto",
        cmap="Greens",
        norm="log" if backwards else "linear",
        interpolation="nearest",
    )
    figure.colorbar(image, ax=rows_axes, label="times an even share")
    rows_axes.set_yticks(range(len(lengths)), [f"{lengths[row]} steps" for row in order])
    rows_axes.set(title="each sequence, after training")
    if backwards:
        for shares, name, style in ((before, "before", "--"), (after, "after", "-")):
            mean_axes.semilogy(shares.mean(axis=0)[: min(lengths)], style, label=name, marker=".")
        mean_axes.set(ylabel="share of the gradient", title="mean")
        for axes in (rows_axes, mean_axes):
            axes.set_xlabel("steps back from the prediction")
    else:
        grid = np.linspace(0, 1, 50)
        for shares, name, style in ((before, "before", "--"), (after, "after", "-")):
            curves = [
                np.interp(grid, (np.arange(n) + 0.5) / n, row[:n] * n)
                for row, n in zip(shares, lengths, strict=True)
            ]
            mean_axes.plot(100 * grid, np.mean(curves, axis=0), style, label=name)
        mean_axes.axhline(1, color="grey", linewidth=0.8, linestyle=":", label="even")
        mean_axes.set(xlabel="per cent of the way from the first step to the last", title="mean")
        mean_axes.set(ylabel="times an even share", ylim=(0, None))
        rows_axes.set_xlabel("step")
    mean_axes.legend(title="training")
    mean_axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
