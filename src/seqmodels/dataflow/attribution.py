"""Attribute a prediction to the steps that a model has read: any `(inputs, lengths) -> logits`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.audit.isolation import isolated
from seqmodels.audit.modules import find_modules
from seqmodels.batch import PADDING_TARGET
from seqmodels.device import exact
from seqmodels.errors import UserError, choices
from seqmodels.padding import Lengths, valid_steps

Function = Callable[[Tensor, Tensor], Tensor]
Read = Callable[[Tensor, Tensor, Tensor], Tensor]  # (inputs, lengths, classes) -> logits (B,)
RowName = Callable[[int], str]

METHODS = ("integrated_gradients", "left_out")

# A line from the baseline to a row is cut into so many pieces.
PIECES = 12
# A piece that lacks too much of the change of the logit is cut again into so many, `CUTS` times at
# most.
SMALLER_PIECES = 4
CUTS = 5
# In a piece, gradients are taken at so many points, those of Gauss and Legendre.
POINTS = 2
# A piece may lack this share of how far its row's logit moves along the line, and so many eps of
# its logits.
TOLERANCE = 0.003
ROUNDING = 8

# A series is left out in so many stretches.
STRETCHES = 20
# No more rows, nor steps or numbers of all of them, are read at once: a step takes some 20 kB where
# an LSTM of two directions and 128 units keeps what its gradient needs.
COPIES = 128
STEPS = 6_400
NUMBERS = 1_000_000


class Attributions(list[Tensor]):
    """For each row a tensor `(T, F)`, or `(T,)` of tokens: how much each step adds to the logit.

    They sum to the difference of the logits, because what an integral lacks is spread over its
    steps. Only where the logit has no slope all along its line, they are 0. `remainder` `(B,)` is
    how much an integral lacked, in units of the logit; of what is left out, 0. A slice has the
    remainders of its rows; all else that one makes of it is a plain list.
    """

    remainder: Tensor

    def __init__(self, rows: Iterable[Tensor] = (), remainder: Tensor | None = None) -> None:
        super().__init__(rows)
        self.remainder = torch.zeros(len(self)) if remainder is None else remainder

    def __getitem__(self, index: Any) -> Any:
        rows = super().__getitem__(index)
        if not isinstance(index, slice):
            return rows
        numbers = range(len(self))[index]
        return Attributions(rows, self.remainder[[*numbers]])


def attribute(
    function: Function,
    inputs: Tensor,
    lengths: Lengths,
    of: Any = None,
    step: Any = None,
    *,
    method: str = "integrated_gradients",
    baseline: Any = "zero",
    row_name: RowName = "row {}".format,
) -> Attributions:
    """How much each step of each row, and each of its features, adds to one logit.

    Integrated gradients (Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365) follow the
    straight line from the baseline to the row, and sum to its logit less the baseline's. The line
    is cut into pieces until each of them lacks at most 0.3 % of the way that the logit goes, or is
    1/12,288 of the line; `Attributions` says what becomes of the rest. The model runs in evaluation
    mode. Padding stays as it is.

    Args:
        function: to logits `(B, C)`, or `(B, T, C)` at every step.
        inputs: features `(B, T, F)`; to leave out, also tokens `(B, T)`.
        of: a class, or one for each row `(B,)` or step `(B, T)`; None: what is predicted.
        step: where there are logits at every step, the one that counts, from 0, or -1 for each
            row's last; None: the mean over all of them.
        method: `integrated_gradients`; or `left_out`: by how much the logit falls without a token,
            or if a straight line replaces a twentieth of a feature's steps, which share the change.
        baseline: where integrated gradients begin: `zero`, or a number for each feature.
        row_name: what to call a row in an error, by its number from 0.

    Raises:
        UserError: for an unknown method, class or step, another number of baselines, lengths that
            don't fit, no rows, what is not finite in the inputs or becomes so on the line, and for
            logits that change, but have no gradient.
    """
    if method not in METHODS:
        raise UserError(f"method={method}: {choices(method, METHODS)}")
    has_gradients = method == "integrated_gradients"
    if has_gradients and not inputs.is_floating_point():
        raise UserError("no line leads from token to token: embed them, or set method=left_out")
    if inputs.is_floating_point() and inputs.dim() != 3:
        raise UserError(f"inputs are {tuple(inputs.shape)}: give features (B, T, F)")
    lengths = checked_lengths(lengths, inputs)
    inputs = inputs[:, : int(lengths.max())]
    _refuse_not_finite_inputs(inputs, lengths, row_name)

    with isolated(find_modules(function)):
        classes = counted_classes(function, inputs, lengths, of, step, row_name)
        read: Read = partial(mean_logit, function)
        if has_gradients:
            start = checked_baseline(baseline, inputs)
            lines = Lines(read, inputs, lengths, classes, start)
            padded_rows, remainder = integrate(lines, row_name)
            rows = [row[:end] for row, end in zip(padded_rows, lengths, strict=True)]
        else:
            rows = rows_left_out(read, inputs, lengths, classes, row_name)
            remainder = torch.zeros(len(rows))
    return Attributions([row.float().cpu() for row in rows], remainder.float().cpu())


# ---------------------------------------------------------------- what counts


def checked_lengths(lengths: Lengths, inputs: Tensor) -> Tensor:
    """The length of each row, `(B,)`."""
    lengths = torch.as_tensor(lengths)
    count, time = inputs.shape[:2]
    if lengths.shape != (count,) or lengths.is_floating_point():
        dtype = str(lengths.dtype).removeprefix("torch.")
        raise UserError(
            f"lengths are {tuple(lengths.shape)} {dtype}: give a whole number for each of {count} "
            "rows"
        )
    if count == 0:
        raise UserError("inputs have no rows: give at least one")
    for row, length in enumerate(lengths.tolist()):
        if not 1 <= length <= time:
            raise UserError(f"lengths[{row}] is {length}: rows have 1 to {time} steps")
    return lengths


def checked_baseline(baseline: Any, inputs: Tensor) -> Tensor:
    """Where a line begins, `(F,)`."""
    width = inputs.shape[2]
    if isinstance(baseline, str) and baseline == "zero":
        return torch.zeros_like(inputs[0, 0])
    if baseline is None or isinstance(baseline, str):
        raise UserError(f"baseline is {baseline}: give zero, or a number for each of {width}")
    if np.shape(baseline) != (width,):
        shape = tuple(np.shape(baseline))
        raise UserError(f"baseline is {shape}: give zero, or a number for each of {width}")
    try:
        start = torch.as_tensor(baseline).to(inputs)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"baseline={baseline}: give numbers") from error
    if not start.isfinite().all():
        raise UserError(f"baseline={start.tolist()}: give finite numbers")
    return start


def _refuse_not_finite_inputs(inputs: Tensor, lengths: Tensor, row_name: RowName) -> None:
    """Refuses nan and inf at steps of a row; padding may hold anything."""
    if not inputs.is_floating_point():
        return
    is_step = valid_steps(lengths, inputs.shape[1], inputs.device).unsqueeze(2)
    places = (is_step & ~inputs.isfinite()).nonzero()
    if len(places):
        row, step, feature = places[0].tolist()
        value = float(inputs[row, step, feature])
        raise UserError(
            f"{row_name(row)}, step {step}: feature {feature} is {value}: give finite numbers"
        )


@torch.no_grad()
def counted_classes(
    function: Function, inputs: Tensor, lengths: Tensor, of: Any, step: Any, row_name: RowName
) -> Tensor:
    """The class that counts of each row `(B, 1)`, or at each step `(B, T)`: -100 where none."""
    classes, num_classes, has_steps = _predicted_classes(function, inputs, lengths)
    time = inputs.shape[1]
    is_counted = torch.ones_like(classes, dtype=torch.bool)
    if has_steps:
        is_counted = valid_steps(lengths, time, classes.device)
    if step is not None:
        if not has_steps:
            raise UserError(f"step={step}: there is one prediction for each row, leave step out")
        step = checked_step(step, lengths, f"step={step}", row_name)
        counted_step = torch.full_like(lengths, step)  # (B,)
        if step < 0:
            counted_step = lengths - 1
        steps = torch.arange(time, device=classes.device)
        is_counted = steps == counted_step.to(classes).unsqueeze(1)
    if of is not None:
        classes = wanted_classes(of, is_counted, num_classes, row_name).to(classes)
    return classes.where(is_counted, PADDING_TARGET)


def _predicted_classes(
    function: Function, inputs: Tensor, lengths: Tensor
) -> tuple[Tensor, int, bool]:
    """The class with the largest logit of each row `(B, 1)`, or at each step `(B, T)`; of how many
    classes; and whether there are logits at every step."""
    time = inputs.shape[1]
    count = copies_at_once(inputs)
    predictions = list[Tensor]()
    for rows, row_lengths in zip(inputs.split(count), lengths.split(count), strict=True):
        logits = function(rows, row_lengths)
        if not isinstance(logits, Tensor):
            raise UserError(
                f"function gave {type(logits).__name__}: let it give logits (B, C) or (B, T, C)"
            )
        if logits.dim() not in (2, 3):
            raise UserError(
                f"function gave {tuple(logits.shape)}: let it give logits (B, C) or (B, T, C)"
            )
        predicted_classes = logits.argmax(dim=-1)
        has_steps = logits.dim() == 3
        if has_steps:  # Packed rows are as long as the longest of them.
            missing_steps = time - predicted_classes.shape[1]
            predicted_classes = F.pad(predicted_classes, (0, missing_steps))
        predictions.append(predicted_classes.view(len(rows), -1))
    return torch.cat(predictions), logits.shape[-1], has_steps


def checked_step(step: Any, lengths: Tensor, argument: str, row_name: RowName) -> int:
    """The number of a step that all rows have, from 0, or -1; an error calls it `argument`."""
    shortest = int(lengths.argmin())
    end = int(lengths[shortest])
    try:
        step = operator.index(step)
    except TypeError as error:
        message = f"{argument}: give the number of a step, from 0, or -1 for the last"
        raise UserError(message) from error
    if not -1 <= step < end:
        steps = "1 step" if end == 1 else f"{end} steps"
        raise UserError(
            f"{argument}: {row_name(shortest)} has {steps}, counted from 0, or -1 for the last"
        )
    return step


def wanted_classes(of: Any, is_counted: Tensor, num_classes: int, row_name: RowName) -> Tensor:
    """The class that `of` names for each row `(B, 1)` or step `(B, T)`, in the shape of
    `is_counted`. Raises a `UserError` for one that counts and does not exist."""
    try:
        classes = torch.as_tensor(of)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"of={of}: give the number of a class, 0 to {num_classes - 1}") from error
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise UserError(f"of={of}: give the number of a class, 0 to {num_classes - 1}")

    rows, steps = is_counted.shape
    if classes.dim() == 0:
        classes = classes.expand(rows, steps)
    elif classes.shape == (rows,):
        classes = classes.unsqueeze(1).expand(rows, steps)
    elif classes.dim() == 2 and len(classes) == rows and classes.shape[1] >= steps:
        classes = classes[:, :steps]
    else:
        shape = tuple(classes.shape)
        raise UserError(f"of is {shape}: give one class, or one for each of {rows} rows or steps")

    is_unknown = (classes < 0) | (classes >= num_classes)
    is_wrong = is_counted.cpu() & is_unknown.cpu()
    if is_wrong.any():
        row, step = is_wrong.nonzero()[0].tolist()
        argument = f"of={int(classes[row, step])}"
        if torch.as_tensor(of).dim() > 0:
            argument += f" of {row_name(row)}"
        raise UserError(f"{argument}: there are {num_classes} classes, counted from 0")
    return classes


def mean_logit(function: Function, inputs: Tensor, lengths: Tensor, classes: Tensor) -> Tensor:
    """The logit of each row's class, `(B,)`; the mean, where several steps count.

    Args:
        classes: as `counted_classes` gives them.
    """
    logits = exact(function(inputs, lengths))
    if logits.dim() == 2:
        logits = logits.unsqueeze(1)  # (B, 1, C)
    classes = classes[:, : logits.shape[1]]
    is_counted = classes >= 0
    indices = classes.clamp(min=0).unsqueeze(2)
    logits_of_classes = logits.gather(2, indices).squeeze(2)  # (B, T)
    sums = (logits_of_classes * is_counted).sum(dim=1)
    return sums / is_counted.sum(dim=1).clamp(min=1)


# ---------------------------------------------------------------- integrated gradients


def copies_at_once(inputs: Tensor) -> int:
    """How many rows like those of inputs `(B, T, F)` or tokens `(B, T)` are read at once."""
    numbers_in_row = inputs[0].numel()
    copies = min(COPIES, STEPS // inputs.shape[1], NUMBERS // numbers_in_row)
    return max(copies, POINTS)


class Pieces(NamedTuple):
    """N pieces of lines, each between two shares of its line."""

    rows: Tensor  # (N,), the row of each piece's line
    shares: Tensor  # (N, 2), where it begins and ends
    logits: Tensor  # (N, 2), the logits at its ends

    def at(self, numbers: Tensor) -> Pieces:
        """The pieces with these numbers."""
        logits = self.logits[numbers.to(self.logits.device)]
        return Pieces(self.rows[numbers], self.shares[numbers], logits)


class Lines:
    """The straight lines from a baseline to each of B rows. A point is a share of its line: 0 is
    the baseline, and 1 the row. Rows and shares are on the CPU."""

    def __init__(
        self, read: Read, inputs: Tensor, lengths: Tensor, classes: Tensor, start: Tensor
    ) -> None:
        self.read = read
        self.lengths = lengths
        self.classes = classes
        self.dtype = inputs.dtype
        is_step = valid_steps(lengths, inputs.shape[1], inputs.device).unsqueeze(2)
        self.begin = exact(start.where(is_step, inputs))  # (B, T, F)
        self.way = (exact(inputs) - self.begin).where(is_step, 0.0)  # (B, T, F), from the baseline
        self.copies = copies_at_once(inputs)

    def points(self, rows: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What to read at points, up to the longest row of them: inputs, lengths, classes."""
        lengths = self.lengths[rows]
        time = int(lengths.max())
        way = self.way[rows, :time]
        shares = shares.to(way).view(-1, 1, 1)
        inputs = self.begin[rows, :time] + shares * way
        return inputs.to(self.dtype), lengths, self.classes[rows]

    @torch.no_grad()
    def logits(self, rows: Tensor, shares: Tensor) -> Tensor:
        """The logits at N points, `(N,)`."""
        row_chunks = rows.split(self.copies)
        share_chunks = shares.split(self.copies)
        logits = list[Tensor]()
        for some_rows, some_shares in zip(row_chunks, share_chunks, strict=True):
            inputs, lengths, classes = self.points(some_rows, some_shares)
            logits.append(self.read(inputs, lengths, classes))
        return torch.cat(logits)

    def slopes(self, rows: Tensor, shares: Tensor) -> Tensor:
        """The gradients at N points, up to the longest row of them: `(N, T, F)`."""
        inputs, lengths, classes = self.points(rows, shares)
        inputs.requires_grad_()
        # The function gets a copy, so that it may write to it.
        logits = self.read(inputs.clone(), lengths, classes)
        [slopes] = torch.autograd.grad(logits.sum(), inputs, materialize_grads=True)
        return exact(slopes)

    def have_slopes(self) -> bool:
        """Whether logits have a gradient at all, by one point."""
        inputs, lengths, classes = self.points(torch.tensor([0]), torch.tensor([0.5]))
        inputs.requires_grad_()
        logits = self.read(inputs.clone(), lengths, classes)
        return logits.requires_grad

    def uncut(self) -> Pieces:
        """Each line as one piece."""
        rows = torch.arange(len(self.lengths))
        begin = torch.zeros(rows.shape, dtype=torch.float64)
        end = torch.ones(rows.shape, dtype=torch.float64)
        logits = [self.logits(rows, begin), self.logits(rows, end)]
        return Pieces(rows, torch.stack([begin, end], dim=1), torch.stack(logits, dim=1))

    def cut(self, pieces: Pieces, count: int) -> Pieces:
        """Each of N pieces cut into `count` of one length."""
        fractions = torch.linspace(0, 1, count + 1, dtype=torch.float64)
        edges = torch.lerp(pieces.shares[:, :1], pieces.shares[:, 1:], fractions)  # (N, count + 1)

        # Only the logits at inner edges are new.
        inner_rows = pieces.rows.repeat_interleave(count - 1)
        inner_logits = self.logits(inner_rows, edges[:, 1:-1].flatten()).view(-1, count - 1)
        logits_at_begin, logits_at_end = pieces.logits.split(1, dim=1)
        logits = torch.cat([logits_at_begin, inner_logits, logits_at_end], dim=1)

        # Neighbours in a row of edges are the ends of a piece.
        return Pieces(
            rows=pieces.rows.repeat_interleave(count),
            shares=edges.unfold(1, 2, 1).flatten(0, 1),  # (N * count, 2)
            logits=logits.unfold(1, 2, 1).flatten(0, 1),
        )

    def integrals(self, pieces: Pieces) -> Tensor:
        """The gradients along N pieces, times the way: `(N, T, F)`."""
        nodes, weights = np.polynomial.legendre.leggauss(POINTS)  # The line goes from -1 to 1.
        begin, end = pieces.shares.split(1, dim=1)
        shares = torch.lerp(begin, end, (1 + torch.from_numpy(nodes)) / 2)  # (N, P)
        scaled_weights = (end - begin) * torch.from_numpy(weights) / 2  # (N, P)

        rows = pieces.rows.repeat_interleave(POINTS)
        slopes = self.slopes(rows, shares.flatten()).unflatten(0, (-1, POINTS))  # (N, P, T, F)
        scaled_weights = scaled_weights.to(slopes).view(-1, POINTS, 1, 1)
        sums = (slopes * scaled_weights).sum(dim=1)
        return sums * self.way[pieces.rows, : sums.shape[1]]


def integrate(lines: Lines, row_name: RowName) -> tuple[Tensor, Tensor]:
    """The integrated gradients of padded rows `(B, T, F)`; and how much of each row's logit they
    lacked before that was spread over the steps, `(B,)`, the sum over the pieces."""
    attributions = torch.zeros_like(lines.way)
    remainders = attributions.new_zeros(len(attributions))
    whole_lines = lines.uncut()
    pieces = lines.cut(whole_lines, PIECES)
    changes = pieces.logits.diff(dim=1).squeeze(1)
    if not lines.have_slopes():
        if not changes.any():
            return attributions, remainders
        raise UserError(
            "the logits change, but have no gradient: let the function run without no_grad, detach "
            "or argmax, or set method=left_out"
        )
    # How far a logit moves, up and down, is larger than the difference between its ends.
    variations = changes.abs().view(-1, PIECES).sum(dim=1)
    rounding = ROUNDING * torch.finfo(lines.dtype).eps

    for cuts in range(CUTS + 1):
        rough_numbers = list[Tensor]()  # the pieces that are to be cut again
        for numbers in torch.arange(len(pieces.rows)).split(lines.copies // POINTS):
            chunk = pieces.at(numbers)
            amounts = lines.integrals(chunk)  # (N, T, F)
            gaps = chunk.logits.diff(dim=1).squeeze(1) - amounts.sum(dim=(1, 2))  # (N,)
            _refuse_not_finite(gaps, chunk.rows, row_name)

            rows = chunk.rows.to(attributions.device)
            allowed_gaps = TOLERANCE * variations[rows] + rounding * chunk.logits.abs().sum(dim=1)
            is_fine = gaps.abs() <= allowed_gaps
            if cuts == CUTS:  # There is no cut left, so we take them as they are.
                is_fine = torch.ones_like(is_fine)
            rough_numbers.append(numbers[~is_fine.cpu()])

            fine_rows = rows[is_fine]
            fine_amounts = spread(amounts, gaps)[is_fine]
            time = fine_amounts.shape[1]
            attributions[:, :time].index_add_(0, fine_rows, fine_amounts)
            remainders.index_add_(0, fine_rows, gaps[is_fine].abs())
        numbers = torch.cat(rough_numbers)
        if len(numbers) == 0:
            break
        pieces = lines.cut(pieces.at(numbers), SMALLER_PIECES)

    # A piece without any slope has no steps to take its gap, so the steps of its line take it.
    whole_changes = whole_lines.logits.diff(dim=1).squeeze(1)  # (B,)
    remaining_gaps = whole_changes - attributions.sum(dim=(1, 2))
    return spread(attributions, remaining_gaps), remainders


def spread(amounts: Tensor, gaps: Tensor) -> Tensor:
    """Adds what each piece, or line, lacks to its steps, in proportion to their size, so that they
    sum to the change of its logit, unless none of them counts.

    Args:
        amounts: `(N, T, F)`, how much each step of a piece adds to its logit.
        gaps: `(N,)`, what they lack.
    """
    sizes = amounts.abs()
    totals = sizes.sum(dim=(1, 2)).clamp(min=torch.finfo(sizes.dtype).tiny)
    gap_per_size = (gaps / totals).view(-1, 1, 1)
    return amounts + sizes * gap_per_size


def _refuse_not_finite(values: Tensor, rows: Tensor, row_name: RowName) -> None:
    """Refuses nan and inf among some values, each of which is of one of the rows."""
    is_wrong = ~values.isfinite()
    if is_wrong.any():
        row = int(rows[is_wrong.cpu()][0])
        raise UserError(
            f"{row_name(row)}: its logit or the gradient is nan or inf on the way from the "
            "baseline: choose another baseline, or see which of the model's numbers are not finite"
        )


# ---------------------------------------------------------------- what is left out


@torch.no_grad()
def rows_left_out(
    read: Read, inputs: Tensor, lengths: Tensor, classes: Tensor, row_name: RowName
) -> list[Tensor]:
    """What each step of each row changes: `(T,)` of tokens, `(T, F)` of features."""
    changes_by_row = list[Tensor]()
    for number, length in enumerate(lengths.tolist()):
        row = inputs[number, :length]
        classes_of_row = classes[number, :length]
        if inputs.is_floating_point():
            changes = features_left_out(read, row, classes_of_row)
        else:
            changes = tokens_left_out(read, row, classes_of_row)
        if not changes.isfinite().all():
            raise UserError(
                f"{row_name(number)}: its logit is nan or inf, or becomes so where a step is left "
                "out: see which of the model's numbers are not finite"
            )
        changes_by_row.append(changes)
    return changes_by_row


def tokens_left_out(read: Read, row: Tensor, classes: Tensor) -> Tensor:
    """By how much the logit of a row falls without each token, `(T,)`. Of classes at each step,
    those of the other tokens count."""
    count = len(row)
    if count == 1:
        return torch.zeros(1)
    steps = torch.arange(count, device=row.device)
    is_left_out = steps == steps.unsqueeze(1)  # (T, T): a row for each token
    kept_steps = steps.expand(count, -1)[~is_left_out].view(count, -1)  # (T, T - 1)

    full_classes = classes.expand(count, -1)
    shorter_classes = full_classes
    if len(classes) > 1:
        full_classes = full_classes.masked_fill(is_left_out, PADDING_TARGET)
        shorter_classes = classes[kept_steps]
    full_rows = row.expand(count, *row.shape)
    full_logits = _logits_of(read, full_rows, full_classes)
    shorter_logits = _logits_of(read, row[kept_steps], shorter_classes)
    return full_logits - shorter_logits


def features_left_out(read: Read, row: Tensor, classes: Tensor) -> Tensor:
    """By how much the logit of a row falls with a straight line in place of some steps of a
    feature, `(T, F)`: they share it."""
    count, width = row.shape
    logit = _logits_of(read, row.unsqueeze(0), classes.unsqueeze(0))
    changes = torch.zeros(row.shape, dtype=logit.dtype, device=row.device)
    chunks_of_features = torch.arange(width, device=row.device).split(copies_at_once(row[None]))
    for steps in torch.arange(count, device=row.device).chunk(STRETCHES):
        line = _line_instead(row, steps)  # (S, F)
        for features in chunks_of_features:  # (N,)
            copies = row.repeat(len(features), 1, 1)  # (N, T, F): each lacks steps of one feature
            number_of_copy = torch.arange(len(features), device=row.device).unsqueeze(1)
            copies[number_of_copy, steps, features.unsqueeze(1)] = line.T[features]
            logits_without = _logits_of(read, copies, classes.expand(len(features), -1))  # (N,)
            changes[steps.unsqueeze(1), features] = (logit - logits_without) / len(steps)
    return changes


def _line_instead(row: Tensor, steps: Tensor) -> Tensor:
    """A straight line `(S, F)` in place of neighbouring steps of a row, from the step before them
    to the step after. At an end of the row, the line is level; instead of a full row, it is 0."""
    before = int(steps[0]) - 1
    after = int(steps[-1]) + 1
    neighbours = [row[step] for step in (before, after) if 0 <= step < len(row)]
    if not neighbours:
        neighbours = [torch.zeros_like(row[0])]
    shares = (steps - before).to(row).unsqueeze(1) / (after - before)
    return torch.lerp(neighbours[0], neighbours[-1], shares)


def _logits_of(read: Read, rows: Tensor, classes: Tensor) -> Tensor:
    """The logits of rows of one length, `(N,)`."""
    count = copies_at_once(rows)
    logits = list[Tensor]()
    for some_rows, some_classes in zip(rows.split(count), classes.split(count), strict=True):
        lengths = torch.full((len(some_rows),), rows.shape[1])
        logits.append(read(some_rows, lengths, some_classes))
    return torch.cat(logits)
