"""Show which steps of some test rows count for what was predicted, and which against it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.batch import PADDING_ID, SequenceBatch
from seqmodels.dataflow.attribution import METHODS, MOST, Attributions, attribute
from seqmodels.device import exact
from seqmodels.engine import Task
from seqmodels.errors import UserError, choices
from seqmodels.screen import figure_text, visible

log = logging.getLogger(__name__)

INPUTS = ("input", "tokens", "steps")  # what of it is no caption
HOW = "steps that are read: dark dots count for the prediction, light orange against it (~ roughly)"
FEW = 64  # points of an integral, of a picture
EACH, MOST_TOKENS, MOST_STEPS = 6, 100, 2_000  # wrong rows, and right ones; what is longer is not
COLOURS = LinearSegmentedColormap.from_list("", ["#e08a1e", "#cfcfcf", "#10248f"])  # also in grey
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Which words count</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
  :root { color-scheme: light dark; font: 16px/1.7 ui-sans-serif, system-ui, sans-serif }
  body { max-width: 50rem; margin: auto; padding: 1rem; overflow-wrap: anywhere }
  article { border: 1px solid #8888; border-radius: 8px; padding: 0 1rem; margin: .75rem 0 }
  article p:last-child { white-space: pre-wrap } span { border-radius: 3px }
</style><body>
<h1>Which words count for the prediction?</h1>
<p>Each token was left out once. It is blue if the prediction is lower without it, so that it counts
for it, and orange if it is higher, so that it counts against it: the log-odds of the class, those
of the tags of the other tokens, on average, or the first value. The deeper its colour, the more it
counts in its text; colours of two texts don't compare. Words that say the same can stand in for
each other, and then none is deep. Texts of more than 100 tokens are left out.</p>
"""


def attributed(
    task: Task,
    batch: SequenceBatch,
    of: str | int | None = None,
    method: str = METHODS[0],
    baseline: str | Tensor | Sequence[Any] = "zero",
    *,
    first: int | None = 1,
    most: int = MOST,
    odds: bool = False,
) -> Attributions:
    """`attribute` for a batch on the task's device, as `Run.attribute` documents it; of tokens,
    `(T,)` each. The number of the `first` row is for a warning; None: without one."""
    if not task.answers:
        why = "each value is many steps ahead, or has no name"
        why = "its decoder writes token by token" if task.contract.kind.decoder else why
        raise UserError(f"steps of a {type(task).__name__} can't be attributed: {why}")
    inputs, lengths, by_step = batch.inputs, batch.lengths, task.contract.per == "step"
    embeds = method == METHODS[0] and not inputs.is_floating_point()

    def read(inputs: Tensor, lengths: Tensor) -> Tensor:
        rows = SequenceBatch(inputs, lengths)
        states = task.read(inputs, lengths) if embeds else task.encode(rows)
        if values:
            return task.head.decode(states)
        logits = task.read_out(states, rows)
        return log_odds(logits) if odds else logits

    with torch.no_grad():
        decided = task.head.decode(task.encode(batch))
        if values := decided.is_floating_point():  # of which the first counts
            decided = torch.zeros_like(decided[..., 0], dtype=torch.int64)
        step = -1 if by_step and task.contract.causal else None
        if by_step and isinstance(of, int):
            step = of
        elif of is not None:
            if str(of) not in task.answers:
                raise UserError(f"of={of}: {choices(str(of), task.answers)}")
            decided = torch.full_like(decided, task.answers.index(str(of)))
        if embeds:
            padding = SequenceBatch(torch.full_like(inputs[:1, :1], PADDING_ID), torch.tensor([1]))
            baseline = task.embed(padding)[0, 0] if baseline == "zero" else baseline
            inputs = task.embed(batch)
    found = attribute(
        read, inputs, lengths, decided, step, method=method, baseline=baseline, most=most
    )
    if first is not None and len(rows := found.missing.nonzero().flatten()):
        numbers = ", ".join(map(str, (first + rows).tolist()))
        log.warning(f"input {numbers}: steps don't sum to what they should, even at {MOST} points")
    if embeds:
        found[:] = [row.sum(dim=1) for row in found]
    return found


def log_odds(logits: Tensor) -> Tensor:
    """Of each class against all others."""
    logits = exact(logits)
    top, whole = logits.argmax(dim=-1, keepdim=True), logits.logsumexp(dim=-1, keepdim=True)
    others = whole + torch.log1p(-(logits - whole).exp())  # of the top one, it loses all digits
    of_top = logits.scatter(-1, top, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return logits - others.scatter(-1, top, of_top)


def pictures_of_steps(task: Task, data: Any) -> dict[str, Any]:
    """Of a test, `steps.png` of series and `words.html` of texts: the first rows that are wrong and
    that are right, or of numbers those with the largest losses and the smallest.

    Args:
        task: what it has told of its rows says which these are.
        data: the dataset that was tested.
    """
    if task.contract.causal or not task.answers or not len(getattr(data, "raw", ())):
        return {}
    series = task.hparams["data"].get("inputs") == "features"
    most, told = MOST_STEPS if series else MOST_TOKENS, task.told or {}
    rows = [n for n in sorted(told) if data.lengths[n] <= most]
    if all("prediction" in told[n] for n in rows):
        titles = "The first that are wrong", "The first that are right"
        right = {n: told[n]["prediction"] == told[n].get("target") for n in rows}
        some = [n for n in rows if not right[n]], [n for n in rows if right[n]]
    else:  # numbers
        titles = "The largest losses", "The smallest losses"
        loss = {n: told[n]["loss"] for n in rows if told[n]["loss"] == told[n]["loss"]}
        rows, half = sorted(loss, key=lambda n: -loss[n]), (1 + len(loss)) // 2
        some = rows[:half], rows[half:][::-1]
    groups = {title: each[:EACH] for title, each in zip(titles, some, strict=True) if each}
    if series:
        return {"steps.png": draw_steps(task, data, groups)} if groups else {}
    page = ""
    for title, each in groups.items():
        texts = "".join(article(task, data, n, told[n]) for n in each)
        page += f"<h2>{title}</h2>\n{texts}" if texts else ""
    return {"words.html": PAGE + page} if page else {}


def caption(row: Mapping[str, Any]) -> str:
    """`row 3, target a, prediction b, probability 0.41, loss 1.2`"""
    cells = []
    for name, value in row.items():
        if isinstance(value, list) and name in ("target", "prediction"):  # tags
            value = " ".join(map(str, value))
        if name not in INPUTS and not isinstance(value, list):
            cells.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return visible(", ".join(cells))


def article(task: Task, data: Any, number: int, row: Mapping[str, Any]) -> str:
    """A row as HTML; empty if its input is not a text."""
    if not (pieces := data.encoder.pieces(data.raw[number])):
        return ""
    batch, odds = task.ready(data.__getitems__([number])), "prediction" in row
    [counts] = attributed(task, batch, method="left_out", odds=odds)
    shades, text = iter((counts / counts.abs().max().clamp(min=1e-30)).tolist()), ""
    for piece, is_token in pieces:
        shade, shown = next(shades) if is_token else 0.0, escape(visible(piece))
        colour = f"{'37, 99, 235' if shade > 0 else '217, 119, 6'}, {0.6 * abs(shade):.2f}"
        span = f'<span style="background: rgba({colour})" title="{shade:+.2f}">{shown}</span>'
        text += span if shade else shown
    what = escape(caption(row))
    return f"<article>\n<p><small>{what}</small></p>\n<p>{text}</p>\n</article>\n"


def draw_steps(task: Task, data: Any, groups: Mapping[str, Sequence[int]]) -> Figure:
    """The features of rows as lines, with a dot at each step, as large as it counts in its row."""
    height, told = max(map(len, groups.values())), task.told or {}
    figure = Figure(figsize=(6 * len(groups), 1.5 * height + 0.8), layout="constrained")
    grid = figure.subplots(height, len(groups), squeeze=False)
    for column, (title, rows) in zip(grid.T, groups.items(), strict=True):
        batch = task.ready(data.__getitems__(rows))
        found, inputs = attributed(task, batch, first=None, most=FEW), batch.inputs.float().cpu()
        drawn = zip(column, rows, inputs, found, found.missing, strict=False)
        for axes, number, values, counts, lacks in drawn:
            values, shares = values[: len(counts)], counts / counts.abs().max().clamp(min=1e-30)
            steps = torch.arange(len(counts)).unsqueeze(1).expand_as(values)
            order = shares.abs().flatten().argsort()  # what counts most on top
            steps, heights, shares = (each.flatten()[order] for each in (steps, values, shares))
            axes.plot(values, color="#cfcfcf", linewidth=0.8, zorder=0)
            dots = {"s": 45 * shares.abs(), "c": shares, "vmin": -1, "vmax": 1, "linewidths": 0}
            axes.scatter(steps, heights, cmap=COLOURS, **dots)
            what = f"{'~ ' * bool(lacks)}{caption(told[number])}"
            axes.set_title(figure_text(what, most=70), fontsize="small")
            axes.xaxis.get_major_locator().set_params(integer=True)
        column[0].set_title(f"{title}\n{column[0].get_title()}", fontsize="small")
        for axes in column[len(rows) :]:
            axes.set_axis_off()
    figure.supxlabel(HOW, fontsize="medium")
    return figure
