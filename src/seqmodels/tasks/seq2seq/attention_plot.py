"""Draws which tokens of a source a decoder attends to while it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.batch import PairBatch
from seqmodels.errors import UserError
from seqmodels.screen import figure_text
from seqmodels.tasks.seq2seq import Seq2Seq
from seqmodels.tasks.seq2seq.text_targets import TextDecoder

COUNT, MOST = 4, 40  # pairs; tokens of a side
Panel = tuple[list[str], list[str], Float[Tensor, "_ _"]]


class AttentionPlot(Callback):
    """Draws `figures/attention.png` of the test split into the run folder: of four pairs that are
    evenly spread, the weight of each token of the source (column) for each token that is written
    (row).

    Without attention, as with `model.head=final_state`, there is nothing to draw.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if cast(Seq2Seq, pl_module).contract.target != "text":
            raise UserError("only a decoder attends: set callbacks.attention=null")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task = cast(Seq2Seq, pl_module)
        if not trainer.is_global_zero or task.decoder.attention is None:
            return
        pairs: Any = trainer.test_dataloaders.dataset  # type: ignore[union-attr]
        rows = np.linspace(0, len(pairs) - 1, min(COUNT, len(pairs))).round().astype(int)
        panels = attended(task, pairs.__getitems__(rows.tolist()).to(task.device))
        figures = Path(trainer.default_root_dir) / "figures"
        figures.mkdir(exist_ok=True)
        draw_attention(panels).savefig(figures / "attention.png", dpi=120)


def attended(task: Seq2Seq, batch: PairBatch) -> list[Panel]:
    """For each source: its tokens, the tokens that are written for it, greedily and with the end,
    and how much each of these attends to each of those."""
    source, target = TextDecoder(task.hparams["data"]["preprocessor"]), task.text_decoder
    states = task.encode(batch)
    written = task.write(states, beam=1)
    with torch.no_grad():
        attention = task.attention_to(states, written)
    panels = []
    for row, weights in enumerate(attention):
        read = source.tokens(batch.inputs[row, : weights.shape[1]].tolist())
        made = [*target.tokens(written.tokens[row, 0].tolist()), "end"]
        panels.append((read, made[: len(weights)], weights.cpu()))
    return panels


def draw_attention(panels: list[Panel]) -> Figure:
    """Two panels side by side, and two below."""
    figure = Figure(figsize=(11, 9), layout="constrained")
    grid = figure.subplots(2, COUNT // 2).flatten()
    for axes, (read, made, weights) in zip(grid, panels, strict=False):
        axes.imshow(weights[:MOST, :MOST].numpy(), cmap="Blues", vmin=0, vmax=1)
        columns, rows = (
            [figure_text(token.replace(" ", "␣"), most=12) for token in side[:MOST]]
            for side in (read, made)
        )
        axes.set_xticks(range(len(columns)), columns, rotation=90)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
    for axes in grid[len(panels) :]:
        axes.remove()
    figure.supxlabel("source", fontsize="medium")
    figure.supylabel("written", fontsize="medium")
    return figure
