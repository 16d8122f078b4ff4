"""Show which steps of some test rows count for what was predicted, and which against it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from html import escape
from numbers import Integral
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.batch import PADDING_ID, SequenceBatch
from seqmodels.data.inputs import DrawnChannel
from seqmodels.dataflow.attribution import (
    Attributions,
    Function,
    RowName,
    attribute,
    checked_step,
)
from seqmodels.device import exact
from seqmodels.engine import Task
from seqmodels.errors import UserError, choices
from seqmodels.nn.encoder import RNNOutput
from seqmodels.screen import figure_text, visible

log = logging.getLogger(__name__)

# These cells of a row are its input, or say where it stands, and are left out of a caption.
NO_CAPTION = ("input", "tokens", "steps", "source_row")
LEGEND = (
    "steps that are read: dark dots count for the prediction, light orange against it (~ roughly)"
)
# A row is rough if its remainder is a larger share of its largest step.
ROUGH = 0.2
ROWS_UNDER_TITLE = 6
# Of each row, so many channels have a strip of their own; of many strips, there are fewer rows.
MOST_CHANNELS = 4
STRIPS_UNDER_TITLE = 12
LONGEST_LINE = 75  # of a caption
# Longer rows are left out, and series whose numbers, steps times features, don't fit a picture.
MOST_TOKENS = 100
MOST_STEPS = 2_000
MOST_NUMBERS = 100_000
# These colours differ in grey, too.
COLOURS = LinearSegmentedColormap.from_list("", ["#e08a1e", "#cfcfcf", "#10248f"])
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
        decisions = task.network.head.decode(task.network.encode(batch))
    has_values = decisions.is_floating_point()
    classes: Any
    classes, step = _target(task, of, batch.lengths, row_name)
    if classes is None and has_values:
        classes = 0  # the first of the values
    elif classes is None:
        classes = decisions

    answers = partial(_answers, task, has_values=has_values, odds=odds)

    def read_inputs(inputs: Tensor, lengths: Tensor) -> Tensor:
        rows = SequenceBatch(inputs, lengths)
        return answers(task.network.encode(rows), rows)

    def read_embedded(embedded: Tensor, lengths: Tensor) -> Tensor:
        rows = SequenceBatch(embedded, lengths)
        return answers(task.network.read(embedded, lengths), rows)

    inputs = batch.inputs
    read: Function = read_inputs
    is_embedded = method == "integrated_gradients" and not inputs.is_floating_point()
    if is_embedded:  # No line leads from token to token, but one leads from vector to vector.
        read = read_embedded
        with torch.no_grad():
            inputs = task.network.embed(batch)
            if isinstance(baseline, str) and baseline == "zero":
                baseline = _embedded_padding(task, batch)

    attributions = attribute(
        read,
        inputs,
        batch.lengths,
        classes,
        step,
        method=method,
        baseline=baseline,
        row_name=row_name,
    )
    if is_embedded:
        amounts_by_token = [amounts.sum(dim=1) for amounts in attributions]
        attributions = Attributions(amounts_by_token, attributions.remainder)
    if first is not None:
        _warn_of_rough_rows(attributions, row_name)
    return attributions


def _answers(
    task: Task, states: RNNOutput, rows: SequenceBatch, *, has_values: bool, odds: bool
) -> Tensor:
    """What is attributed to steps: values, or for classes their logits or log-odds."""
    if has_values:
        return task.network.head.decode(states)
    logits = task.network.read_out(states, rows)
    if odds:
        return log_odds(logits)
    return logits


def _embedded_padding(task: Task, batch: SequenceBatch) -> Tensor:
    """The vector of the padding token, `(E,)`."""
    padding = torch.full_like(batch.inputs[:1, :1], PADDING_ID)
    padding_batch = SequenceBatch(padding, torch.tensor([1]))
    return task.network.embed(padding_batch)[0, 0]


def _refuse_without_answers(task: Task) -> None:
    """Refuses a task that has no name for what it predicts."""
    if task.answers:
        return
    task_name = type(task).__name__
    if task.contract.kind.decoder:
        raise UserError(
            f"steps of a {task_name} can't be attributed: its decoder writes token by token"
        )
    raise UserError(
        f"steps of a {task_name} can't be attributed: each value is many steps ahead, or has no "
        "name"
    )


def _warn_of_rough_rows(attributions: Attributions, row_name: RowName) -> None:
    names = [row_name(row) for row in rough_rows(attributions)]
    if names:
        log.warning(
            f"{', '.join(names)}: the steps sum to what they should, but single ones are rough: "
            "the network is too steep, or has too many kinks, on the way from the baseline"
        )


def _target(
    task: Task, of: Any, lengths: Tensor, row_name: RowName
) -> tuple[int | None, int | None]:
    """The class that counts, None for what is predicted, and the step, None for all of them."""
    has_steps = task.contract.per == "step"
    step = -1 if has_steps and task.contract.causal else None
    if of is None:
        return None, step
    is_number = isinstance(of, Integral) and not isinstance(of, bool)
    if has_steps and is_number:
        return None, checked_step(of, lengths, f"of={of}", row_name)
    if str(of) not in task.answers:
        raise UserError(f"of={of}: {choices(str(of), task.answers)}")
    return task.answers.index(str(of)), step


def rough_rows(attributions: Attributions) -> list[int]:
    """The rows with a remainder that is large beside their largest step."""
    largest_amounts = torch.stack([amounts.abs().max() for amounts in attributions])
    is_rough = attributions.remainder > ROUGH * largest_amounts
    return is_rough.nonzero().flatten().tolist()


def log_odds(logits: Tensor) -> Tensor:
    """The log-odds of each class against all others, from logits `(..., C)`."""
    logits = exact(logits)
    log_total = logits.logsumexp(dim=-1, keepdim=True)
    log_others = log_total + torch.log1p(-(logits - log_total).exp())
    # Of the top class, that difference loses all digits, so we sum the others.
    top = logits.argmax(dim=-1, keepdim=True)
    log_others_of_top = logits.scatter(-1, top, -torch.inf).logsumexp(dim=-1, keepdim=True)
    log_others = log_others.scatter(-1, top, log_others_of_top)
    return logits - log_others


def pictures_of_steps(task: Task, data: Any) -> dict[str, Any]:
    """Draws `steps.png` of series or `words.html` of texts after a test: the first rows that are
    wrong and that are right, or of numbers those with the largest losses and the smallest.

    Args:
        task: what it has told of its rows says which these are.
        data: the dataset that was tested.
    """
    if task.contract.causal or not task.answers or not len(getattr(data, "raw", ())):
        return {}
    is_series = task.hparams["data"].get("inputs") == "features"
    limit = f"{MOST_TOKENS} tokens"
    most_steps = MOST_TOKENS
    if is_series:
        features = task.hparams["data"]["num_inputs"]
        limit = f"{MOST_STEPS:,} steps or {MOST_NUMBERS:,} numbers"
        most_steps = min(MOST_STEPS, MOST_NUMBERS // features)
    finite_outcomes = {
        number: outcome
        for number, outcome in sorted((task.told or {}).items())
        if math.isfinite(outcome.get("loss", 0.0))
    }
    outcomes = {
        number: outcome
        for number, outcome in finite_outcomes.items()
        if data.lengths[number] <= most_steps
    }
    if finite_outcomes and not outcomes:
        log.info(f"no picture of the steps that count: all rows have more than {limit}")
    rows_by_title = rows_to_show(outcomes)
    if not rows_by_title:
        return {}
    if is_series:
        return {"steps.png": draw_steps(task, data, rows_by_title)}
    page = page_of_words(task, data, rows_by_title)
    return {"words.html": page} if page else {}


def rows_to_show(outcomes: Mapping[int, Mapping[str, Any]]) -> dict[str, list[int]]:
    """The numbers of some rows under each title.

    Args:
        outcomes: for the number of each row, what a task has told of it.
    """
    if all("prediction" in outcome for outcome in outcomes.values()):
        rows_by_title = _by_correctness(outcomes)
    else:
        rows_by_title = _by_loss(outcomes)
    return {title: rows[:ROWS_UNDER_TITLE] for title, rows in rows_by_title.items() if rows}


def _by_correctness(outcomes: Mapping[int, Mapping[str, Any]]) -> dict[str, list[int]]:
    wrong_rows = list[int]()
    right_rows = list[int]()
    for row, outcome in outcomes.items():
        if outcome["prediction"] == outcome.get("target"):
            right_rows.append(row)
        else:
            wrong_rows.append(row)
    return {"The first that are wrong": wrong_rows, "The first that are right": right_rows}


def _by_loss(outcomes: Mapping[int, Mapping[str, Any]]) -> dict[str, list[int]]:
    rows = sorted(outcomes, key=lambda row: -outcomes[row]["loss"])  # the largest loss first
    half = (1 + len(rows)) // 2
    smallest_first = rows[half:][::-1]
    return {"The largest losses": rows[:half], "The smallest losses": smallest_first}


def page_of_words(task: Task, data: Any, rows_by_title: Mapping[str, Sequence[int]]) -> str:
    """The page of texts; empty if no input is a text."""
    outcomes = task.told or {}
    sections = ""
    for title, numbers in rows_by_title.items():
        articles = [article(task, data, number, outcomes[number]) for number in numbers]
        text = "".join(articles)
        if text:
            sections += f"<h2>{title}</h2>\n{text}"
    if not sections:
        return ""
    return PAGE + sections


def caption(row: Mapping[str, Any]) -> str:
    """`row 3, target a, prediction b, probability 0.41, loss 1.2`"""
    cells = list[str]()
    for name, value in row.items():
        if isinstance(value, list) and name in ("target", "prediction"):  # These are tags.
            value = " ".join(map(str, value))
        is_of_one_class = name.startswith("probability.")  # There may be many of them.
        if name in NO_CAPTION or is_of_one_class or isinstance(value, list):
            continue
        if isinstance(value, float):
            cells.append(f"{name} {value:.3g}")
        else:
            cells.append(f"{name} {value}")
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
        escaped_piece = escape(visible(piece))
        share = next(shares) if is_token else 0.0
        if share == 0:
            text += escaped_piece
            continue
        colour = "37, 99, 235" if share > 0 else "217, 119, 6"
        style = f"background: rgba({colour}, {0.6 * abs(share):.2f})"
        text += f'<span style="{style}" title="{share:+.2f}">{escaped_piece}</span>'
    header = escape(caption(row))
    return f"<article>\n<p><small>{header}</small></p>\n<p>{text}</p>\n</article>\n"


def shares_of_largest(amounts: Tensor) -> Tensor:
    """Scales amounts to -1 to 1, so that the largest of them is 1 or -1."""
    largest = amounts.abs().max().clamp(min=1e-30)
    return amounts / largest


def draw_steps(task: Task, data: Any, rows_by_title: Mapping[str, Sequence[int]]) -> Figure:
    """Draws the channels of rows as lines, in their own units, with a dot at each step, as large as
    it counts in its row; a column for each title. Of many channels, those that count most."""
    num_strips = min(data.encoder.num_channels, MOST_CHANNELS)
    most_rows = STRIPS_UNDER_TITLE // num_strips
    columns = {
        title: rows_to_draw(task, data, numbers[:most_rows])
        for title, numbers in rows_by_title.items()
    }
    width = len(columns)
    height = max(map(len, columns.values()))
    height_of_row = 0.7 + 0.8 * num_strips  # inches, with its title
    figure = Figure(figsize=(6 * width, height_of_row * height + 0.8), layout="constrained")
    grid = figure.subplots(height * num_strips, width, squeeze=False)
    for column, (title, rows) in zip(grid.T, columns.items(), strict=True):
        strips_of_rows = column.reshape(height, num_strips)
        for place, row in enumerate(rows):
            text = row.caption
            if len(row.channels) > num_strips:
                text += f", the {num_strips} of {len(row.channels)} channels that count most"
            # A caption has two lines at most, which fit the width of a column.
            text = fill(figure_text(text, most=2 * LONGEST_LINE), LONGEST_LINE)
            if place == 0:
                text = f"{title}\n{text}"
            strips_of_rows[place, 0].set_title(text, fontsize="small")
            draw_row(strips_of_rows[place], row.channels)
        for empty_axes in strips_of_rows[len(rows) :].flat:
            empty_axes.set_axis_off()
    figure.align_ylabels()
    figure.supxlabel(LEGEND, fontsize="medium")
    return figure


class DrawnRow(NamedTuple):
    """A row of a picture, and what stands above it."""

    caption: str
    channels: Sequence[DrawnChannel]


def rows_to_draw(task: Task, data: Any, numbers: Sequence[int]) -> list[DrawnRow]:
    """The rows of these numbers, with how much each of their steps counts."""
    outcomes = task.told or {}
    batch = task.ready(data.__getitems__(numbers))
    attributions = attributed(task, batch, first=None)
    rough = rough_rows(attributions)
    rows = []
    for row, number in enumerate(numbers):
        amounts = attributions[row].numpy()  # (T, F)
        features = batch.inputs[row, : len(amounts)].float().cpu().numpy()
        channels = data.encoder.channels_of(features, amounts, len(data.raw[number]))
        text = caption(outcomes[number])
        rows.append(DrawnRow(f"~ {text}" if row in rough else text, channels))
    return rows


def draw_row(strips: Iterable[Any], channels: Sequence[DrawnChannel]) -> None:
    """Draws a row: a strip for each channel, or for those with the largest amounts, each with its
    name and a dot for each amount."""
    strips = [*strips]
    largest_of_channels = [np.abs(channel.amounts).max() for channel in channels]
    largest_first = np.argsort(largest_of_channels)[::-1]
    shown_places = sorted(largest_first[: len(strips)])
    largest = max(*largest_of_channels, 1e-30)
    for axes, place in zip(strips, shown_places, strict=True):
        channel = channels[place]
        shares = channel.amounts / largest
        order = np.abs(shares).argsort()  # The largest dots are drawn last, on top.
        axes.plot(channel.values, color="#cfcfcf", linewidth=0.8, zorder=0)
        axes.scatter(
            order,
            channel.values[order],
            s=45 * np.abs(shares[order]),
            c=shares[order],
            cmap=COLOURS,
            vmin=-1,
            vmax=1,
            linewidths=0,
        )
        axes.set_ylabel(figure_text(channel.name, most=16), fontsize="x-small")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize="small", labelbottom=axes is strips[-1])
