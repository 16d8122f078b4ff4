"""Show which steps of some test rows count for what was predicted, and which against it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from html import escape
from numbers import Integral
from typing import Any

import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.batch import PADDING_ID, SequenceBatch
from seqmodels.dataflow.attribution import Attributions, RowName, attribute, checked_step
from seqmodels.device import exact
from seqmodels.engine import Task
from seqmodels.errors import UserError, choices
from seqmodels.nn.encoder import RNNOutput
from seqmodels.screen import figure_text, visible

log = logging.getLogger(__name__)

INPUTS = ("input", "tokens", "steps")  # what of it is no caption
HOW = "steps that are read: dark dots count for the prediction, light orange against it (~ roughly)"
ROUGH = 0.2  # a remainder, as a share of its row's largest step: single steps are rough
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
    of: Any = None,
    method: str = "integrated_gradients",
    baseline: Any = "zero",
    *,
    first: int | None = 1,
    odds: bool = False,
) -> Attributions:
    """`attribute` for a batch on the task's device, as `Run.attribute` documents it; of tokens,
    `(T,)` each. Errors and warnings count inputs from `first`; None: there are no warnings."""
    _refuse_without_answers(task)

    def row_name(row: int) -> str:
        return f"input {(first or 1) + row}"

    with torch.no_grad():
        decided = task.network.head.decode(task.network.encode(batch))
    has_values = decided.is_floating_point()
    counted_class, step = _target(task, of, batch.lengths, row_name)
    classes = decided if counted_class is None else counted_class
    if has_values and counted_class is None:
        classes = 0  # the first of the values

    def answers(states: RNNOutput, rows: SequenceBatch) -> Tensor:
        if has_values:
            return task.network.head.decode(states)
        logits = task.network.read_out(states, rows)
        return log_odds(logits) if odds else logits

    def read_inputs(inputs: Tensor, lengths: Tensor) -> Tensor:
        rows = SequenceBatch(inputs, lengths)
        return answers(task.network.encode(rows), rows)

    def read_embedded(embedded: Tensor, lengths: Tensor) -> Tensor:
        rows = SequenceBatch(embedded, lengths)
        return answers(task.network.read(embedded, lengths), rows)

    inputs = batch.inputs
    is_embedded = method == "integrated_gradients" and not inputs.is_floating_point()
    if is_embedded:
        with torch.no_grad():
            inputs = task.network.embed(batch)
            if isinstance(baseline, str) and baseline == "zero":
                padding = torch.full_like(batch.inputs[:1, :1], PADDING_ID)
                baseline = task.network.embed(SequenceBatch(padding, torch.tensor([1])))[0, 0]

    attributions = attribute(
        read_embedded if is_embedded else read_inputs,
        inputs,
        batch.lengths,
        classes,
        step,
        method=method,
        baseline=baseline,
        row_name=row_name,
    )
    if is_embedded:
        by_token = [row.sum(dim=1) for row in attributions]
        attributions = Attributions(by_token, attributions.remainder)
    if first is not None:
        _warn_of_rough_rows(attributions, row_name)
    return attributions


def _refuse_without_answers(task: Task) -> None:
    if task.answers:
        return
    why = "each value is many steps ahead, or has no name"
    if task.contract.kind.decoder:
        why = "its decoder writes token by token"
    raise UserError(f"steps of a {type(task).__name__} can't be attributed: {why}")


def _warn_of_rough_rows(attributions: Attributions, row_name: RowName) -> None:
    rough_inputs = ", ".join(map(row_name, rough_rows(attributions)))
    if rough_inputs:
        log.warning(
            f"{rough_inputs}: the steps sum to what they should, but single ones are rough: the "
            "network is too steep, or has too many kinks, on the way from the baseline"
        )


def _target(
    task: Task, of: Any, lengths: Tensor, row_name: RowName
) -> tuple[int | None, int | None]:
    """The class that counts, None for what is predicted, and the step, None for all of them."""
    by_step = task.contract.per == "step"
    step = -1 if by_step and task.contract.causal else None
    if of is None:
        return None, step
    is_number = isinstance(of, Integral) and not isinstance(of, bool)
    if by_step and is_number:
        return None, checked_step(of, lengths, f"of={of}", row_name)
    if str(of) not in task.answers:
        raise UserError(f"of={of}: {choices(str(of), task.answers)}")
    return task.answers.index(str(of)), step


def rough_rows(attributions: Attributions) -> list[int]:
    """The rows with a remainder that is large beside their largest step."""
    largest = torch.stack([row.abs().max() for row in attributions])
    return (attributions.remainder > ROUGH * largest).nonzero().flatten().tolist()


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
    is_series = task.hparams["data"].get("inputs") == "features"
    longest = MOST_STEPS if is_series else MOST_TOKENS
    told = {
        number: row
        for number, row in sorted((task.told or {}).items())
        if data.lengths[number] <= longest and math.isfinite(row.get("loss", 0.0))
    }
    rows_by_title = rows_to_show(told)
    if not rows_by_title:
        return {}
    if is_series:
        return {"steps.png": draw_steps(task, data, rows_by_title)}
    page = page_of_words(task, data, rows_by_title)
    return {"words.html": page} if page else {}


def rows_to_show(told: Mapping[int, Mapping[str, Any]]) -> dict[str, list[int]]:
    """The numbers of some rows under each title, of those that were told of."""
    if all("prediction" in row for row in told.values()):
        is_right = {number: row["prediction"] == row.get("target") for number, row in told.items()}
        titles = "The first that are wrong", "The first that are right"
        groups = [
            [number for number in told if not is_right[number]],
            [number for number in told if is_right[number]],
        ]
    else:  # numbers
        by_loss = sorted(told, key=lambda number: -told[number]["loss"])
        half = (1 + len(by_loss)) // 2
        titles = "The largest losses", "The smallest losses"
        groups = [by_loss[:half], by_loss[half:][::-1]]
    pairs = zip(titles, groups, strict=True)
    return {title: numbers[:EACH] for title, numbers in pairs if numbers}


def page_of_words(task: Task, data: Any, rows_by_title: Mapping[str, Sequence[int]]) -> str:
    """The page of texts; empty if no input is a text."""
    told, sections = task.told or {}, ""
    for title, numbers in rows_by_title.items():
        articles = "".join(article(task, data, number, told[number]) for number in numbers)
        if articles:
            sections += f"<h2>{title}</h2>\n{articles}"
    return PAGE + sections if sections else ""


def caption(row: Mapping[str, Any]) -> str:
    """`row 3, target a, prediction b, probability 0.41, loss 1.2`"""
    cells = []
    for name, value in row.items():
        if isinstance(value, list) and name in ("target", "prediction"):  # tags
            value = " ".join(map(str, value))
        if name not in (*INPUTS, "source_row") and not isinstance(value, list):
            cells.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
    return visible(", ".join(cells))


def article(task: Task, data: Any, number: int, row: Mapping[str, Any]) -> str:
    """A row as HTML; empty if its input is not a text."""
    pieces = data.encoder.pieces(data.raw[number])
    if not pieces:
        return ""
    batch = task.ready(data.__getitems__([number]))
    [changes] = attributed(task, batch, method="left_out", odds="prediction" in row)
    shares = iter(shares_of_largest(changes).tolist())
    text = ""
    for piece, is_token in pieces:
        shown = escape(visible(piece))
        share = next(shares) if is_token else 0.0
        if share == 0:
            text += shown
            continue
        colour = "37, 99, 235" if share > 0 else "217, 119, 6"
        style = f"background: rgba({colour}, {0.6 * abs(share):.2f})"
        text += f'<span style="{style}" title="{share:+.2f}">{shown}</span>'
    head = escape(caption(row))
    return f"<article>\n<p><small>{head}</small></p>\n<p>{text}</p>\n</article>\n"


def shares_of_largest(amounts: Tensor) -> Tensor:
    """From -1 to 1: each amount, where the largest of them is 1 or -1."""
    return amounts / amounts.abs().max().clamp(min=1e-30)


def draw_steps(task: Task, data: Any, rows_by_title: Mapping[str, Sequence[int]]) -> Figure:
    """The features of rows as lines, with a dot at each step, as large as it counts in its row."""
    told = task.told or {}
    height, width = max(map(len, rows_by_title.values())), len(rows_by_title)
    figure = Figure(figsize=(6 * width, 1.5 * height + 0.8), layout="constrained")
    grid = figure.subplots(height, width, squeeze=False)
    for column, (title, numbers) in zip(grid.T, rows_by_title.items(), strict=True):
        batch = task.ready(data.__getitems__(numbers))
        attributions = attributed(task, batch, first=None)
        rough = rough_rows(attributions)
        for row, number in enumerate(numbers):
            amounts = attributions[row]
            draw_row(column[row], batch.inputs[row, : len(amounts)].float().cpu(), amounts)
            mark = "~ " if row in rough else ""
            text = figure_text(f"{mark}{caption(told[number])}", most=70)
            if row == 0:
                text = f"{title}\n{text}"
            column[row].set_title(text, fontsize="small")
        for axes in column[len(numbers) :]:
            axes.set_axis_off()
    figure.supxlabel(HOW, fontsize="medium")
    return figure


def draw_row(axes: Any, values: Tensor, amounts: Tensor) -> None:
    """The features `(T, F)` of a row, and a dot for each amount `(T, F)`."""
    shares = shares_of_largest(amounts)
    steps = torch.arange(len(values)).unsqueeze(1).expand_as(values)
    order = shares.abs().flatten().argsort()  # The largest dots are drawn last, on top.
    steps, heights, shares = (each.flatten()[order] for each in (steps, values, shares))
    axes.plot(values, color="#cfcfcf", linewidth=0.8, zorder=0)
    axes.scatter(
        steps,
        heights,
        s=45 * shares.abs(),
        c=shares,
        cmap=COLOURS,
        vmin=-1,
        vmax=1,
        linewidths=0,
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
