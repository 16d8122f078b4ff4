"""Draws which tokens of a source a decoder attends to while it writes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.batch import PairBatch
from seqmodels.screen import figure_text
from seqmodels.tasks.seq2seq.text_targets import TextDecoder

COUNT, MOST = 4, 40  # pairs; tokens of a side
Panel = tuple[list[str], list[str], Float[Tensor, "_ _"]]


@torch.no_grad()
def attended(task: Any, batch: PairBatch) -> list[Panel]:
    """For each source: its tokens, the tokens that are written for it, greedily and with the end,
    and how much each of these attends to each of those.

    Args:
        task: a `Seq2Seq`.
    """
    source, target = TextDecoder(task.hparams["data"]["preprocessor"]), task.text_decoder
    states = task.encode(batch)
    written, panels = task.write(states, beam=1), []
    for row, weights in enumerate(task.attention_to(states, written)):
        read = source.tokens(batch.inputs[row, : weights.shape[1]].tolist())
        made = [*target.tokens(written.tokens[row, 0].tolist()), "end"]
        panels.append((read, made[: len(weights)], weights.cpu()))
    return panels


def draw_attention(panels: list[Panel]) -> Figure:
    """The weight of each token of the source (column) for each token that is written (row); two
    panels side by side, and two below."""
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
