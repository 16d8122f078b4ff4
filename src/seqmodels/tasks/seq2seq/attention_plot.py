"""Draws which tokens of a source a decoder attends to while it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.arguments import Count
from seqmodels.batch import PairBatch
from seqmodels.errors import UserError
from seqmodels.screen import figure_text
from seqmodels.tasks.seq2seq import Seq2Seq
from seqmodels.tasks.seq2seq.text_targets import TextDecoder

MOST = 40  # tokens to draw of a side


class AttentionPlot(Callback):
    """Draws `figures/attention.png` of the test split into the run folder: of pairs that are evenly
    spread, the weight of each token of the source (column) for each token that is written (row).

    Without attention, as with `model.head=final_state`, there is nothing to draw.

    Args:
        count: how many pairs.
    """

    def __init__(self, count: Count = 4) -> None:
        self.count = count

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if cast(Seq2Seq, pl_module).contract.target != "text":
            raise UserError("only a decoder attends: set callbacks.attention=null")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task = cast(Seq2Seq, pl_module)
        if not trainer.is_global_zero or task.decoder.attention is None:
            return
        pairs: Any = trainer.test_dataloaders.dataset  # type: ignore[union-attr]
        rows = np.linspace(0, len(pairs) - 1, min(self.count, len(pairs))).round().astype(int)
        panels = attended(task, pairs.__getitems__(rows.tolist()).to(task.device))
        figures = Path(trainer.default_root_dir) / "figures"
        figures.mkdir(exist_ok=True)
        draw_attention(panels, figures / "attention.png")


Panel = tuple[list[str], list[str], Float[Tensor, "_ _"]]


def attended(task: Seq2Seq, batch: PairBatch) -> list[Panel]:
    """For each source: its tokens, the tokens that are written for it, greedily and with the end
    token as an empty one, and how much each of these attends to each of those."""
    data = task.hparams["data"]
    source, target = TextDecoder(data["preprocessor"]), task.text_decoder
    states = task.encode(batch)
    written = task.write(states, beam=1)
    with torch.no_grad():
        attention = task.attention_to(states, written)
    panels = []
    for row, weights in enumerate(attention):
        read = source.tokens(batch.inputs[row, : weights.shape[1]].tolist())
        count = int(written.lengths[row, 0])
        tokens = target.tokens(written.tokens[row, 0, :count].tolist())
        panels.append((read, [*tokens, ""][: len(weights)], weights.cpu()))
    return panels


def draw_attention(panels: Sequence[Panel], picture: Path) -> None:
    """A panel for each source."""
    cut = [(read[:MOST], made[:MOST], weights[:MOST, :MOST]) for read, made, weights in panels]
    wide = max(len(read) for read, _, _ in cut)
    tall = max(len(made) for _, made, _ in cut)
    across = min(2, len(cut))
    down = -(-len(cut) // across)
    size = (across * (0.24 * wide + 1.2), down * (0.24 * tall + 1.4))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).flatten()
    for axes, panel in zip(grid, cut, strict=False):
        image = _draw(axes, *panel)
        axes.set(xlim=(-0.5, wide - 0.5), ylim=(tall - 0.5, -0.5))  # cells of one size everywhere
    for axes in grid[len(cut) :]:
        axes.remove()
    figure.colorbar(image, ax=list(grid[: len(cut)]), label="weight", shrink=0.7)
    figure.supxlabel("source", fontsize="medium")
    figure.supylabel("written", fontsize="medium")
    figure.savefig(picture, dpi=120)


def _draw(axes: Axes, read: list[str], made: list[str], weights: Tensor) -> Any:
    image = axes.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=1)
    names = [
        [figure_text(token.replace(" ", "␣"), most=12) or "end" for token in side]
        for side in (read, made)
    ]
    rotation = 90 if max(map(len, names[0])) > 2 else 0
    axes.set_xticks(range(len(read)), names[0], rotation=rotation)
    axes.set_yticks(range(len(made)), names[1])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.xaxis.tick_top()
    return image
