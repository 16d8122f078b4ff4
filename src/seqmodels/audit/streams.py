"""Audit a stream: a model that keeps its state from one call to the next."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import cycle, islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.findings import Audit
from seqmodels.audit.isolation import (
    WithoutNoise,
    changed,
    find_modules,
    isolated,
    seed_random_numbers,
    training,
)
from seqmodels.audit.probe import blur, difference, largest_of
from seqmodels.audit.random_inputs import Sampler
from seqmodels.audit.recurrences import nodes_of
from seqmodels.errors import UserError, one_line

MOST_STEPS = 24  # of a row: what a state has seen fades
UNEVEN = (1, 3, 2, 5)  # steps of chunks, again and again
CALLS = 6  # in which a graph may grow

Logits = list[Tensor]  # after each chunk, on the CPU in float64


def audit_stream(
    stream: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    reset: Callable[[], Any] | None = None,
    seed: int = 0,
) -> Audit:
    """Looks for states that a stream loses, keeps or shares.

    Runs a copy of the stream, or the stream itself if it can't be copied, in evaluation mode on
    random rows made of the values in `inputs`: at once and in chunks, again after a reset, with
    other rows beside a row, and with a second stream between two chunks. Leaves weights, modes and
    the random number generators as they were, and a stream that can't be copied as after a reset.

    Args:
        stream: `stream(chunk) -> logits`, as it is before its first chunk. A chunk is features
            `(B, t, F)` or tokens `(B, t)`; the logits are those of each step, `(B, t, C)`, or
            those after the chunk, `(B, C)`.
        inputs: features `(B, T, F)` or tokens `(B, T)` int64 such as the stream gets in use, of at
            least 2 steps.
        reset: begins new rows. None: `stream.reset`.
        seed: of the random rows. The same seed gives the same findings.

    Raises:
        UserError: if the stream has no reset, or cannot be run on such inputs.
    """
    reset = getattr(stream, "reset", None) if reset is None else reset
    if not callable(reset):
        raise UserError("the stream has no reset(): give reset=, a function that begins new rows")
    if not isinstance(inputs, Tensor) or inputs.dim() < 2 or inputs.shape[1] < 2:
        raise UserError("inputs must be a tensor, (B, T) or (B, T, F), of at least 2 steps")
    modules = find_modules(stream)
    with isolated(modules, seed):
        return _StreamAudit(_Stream(stream, reset), modules, inputs, seed).run()


def assert_stream_clean(stream: Callable[[Tensor], Tensor], inputs: Tensor, **options: Any) -> None:
    """For your tests: takes what `audit_stream` takes, and raises an AssertionError that lists the
    findings, if any."""
    __tracebackhide__ = True
    findings = audit_stream(stream, inputs, **options).findings
    assert not findings, "\n".join(str(finding) for finding in findings)


class _Stream:
    """A stream with its reset; notes what it does to tensors that are its caller's."""

    def __init__(
        self, stream: Callable[[Tensor], Tensor], begin: Callable[[], Any], *, quiet: bool = False
    ) -> None:
        self.stream, self.begin, self.quiet = stream, begin, quiet
        self.overwritten, self.eps = "", 0.0

    def copied(self, shared: Iterable[nn.Module] = ()) -> _Stream | None:
        """Another one with the same state; None if there is no way to copy it."""
        with suppress(Exception):  # its classes may refuse in any way
            memo = {id(module): module for module in shared}
            stream, begin = copy.deepcopy((self.stream, self.begin), memo)
            # a function is copied as itself, with the state that it refers to
            if stream is not self.stream and not inspect.isfunction(begin):
                return _Stream(stream, begin, quiet=self.quiet)
        return None

    def reset(self, seed: int = 0) -> None:
        seed_random_numbers(seed)
        with WithoutNoise() if self.quiet else nullcontext():
            self.begin()

    def __call__(self, chunk: Tensor) -> Tensor:
        with WithoutNoise() if self.quiet else nullcontext():
            logits = self.stream(chunk)
        if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.dim() < 2:
            raise UserError(
                f"the stream returns {type(logits).__name__} instead of logits (B, t, C) or "
                "(B, C): audit a function that returns them alone"
            )
        self.eps = torch.finfo(logits.dtype).eps
        return logits

    def run(self, rows: Tensor, chunks: Sequence[int]) -> Logits:
        """The logits after each chunk of these steps."""
        given, made, logits = rows.split([*chunks], dim=1), list[Tensor](), Logits()
        passed = [chunk.clone() for chunk in given]
        with torch.no_grad():
            for chunk in passed:
                made.append(self(chunk))
                logits.append(made[-1].to("cpu", torch.float64, copy=True))
        if not all(map(torch.equal, passed, given)):
            self.overwritten = "a call changes the values of a chunk that it was given"
        if not all(torch.equal(a.cpu().double(), b) for a, b in zip(made, logits, strict=True)):
            self.overwritten = "a call changes the values of the logits that an earlier one gave"
        return logits

    def anew(self, rows: Tensor, chunks: Sequence[int], seed: int = 0) -> Logits:
        """The same, after a reset."""
        self.reset(seed)
        return self.run(rows, chunks)


class _StreamAudit:
    """The checks; each returns its evidence, or an empty string."""

    def __init__(self, given: _Stream, modules: nn.ModuleList, inputs: Tensor, seed: int) -> None:
        self.given, self.modules, self.audit = given, modules, Audit()
        self.sampler = Sampler(inputs, None, seed, padding="none")
        self.like, self.steps = inputs[:, :MOST_STEPS], min(inputs.shape[1], MOST_STEPS)
        self.tolerance = 0.0  # how far logits may move by rounding

    def rows(self, count: int | None = None) -> Tensor:
        """Random rows, as many as were given if `count` is None."""
        return self.sampler.content(count or len(self.like), self.steps).to(self.like)

    def chunks_of(self, steps: int) -> list[int]:
        """So many steps in chunks of uneven sizes."""
        chunks, sizes = list[int](), cycle(UNEVEN)
        while left := steps - sum(chunks):
            chunks.append(min(self.unit * next(sizes), left))
        return chunks

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Within: where the stream refuses rows, in any way, it can't be tested on them."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            self.audit.untested.append(f"{what}: {one_line(error)}")

    def first_run(self) -> tuple[Tensor, Logits]:
        """Rows, and what a new stream gives for them; notes the sizes of its chunks."""
        refused, steps = "", self.steps
        for self.unit in range(1, steps // 2 + 1):  # the fewest steps that a chunk may have
            self.steps = steps - steps % self.unit
            self.half = self.steps // self.unit // 2 * self.unit
            self.uneven = self.chunks_of(self.steps)
            self.stream, rows = self.given.copied() or self.given, self.rows()
            try:
                new = self.stream.run(rows, self.uneven)  # without a reset
            except UserError:
                raise
            except Exception as error:  # noqa: BLE001 (a stream may refuse a shape in any way)
                refused = refused or one_line(error)
                self.stream.reset()
                continue
            if self.unit > 1:
                self.audit.untested.append(f"chunks of 1 step: {refused}")
            return rows, new
        raise UserError(f"the stream cannot be run on {tuple(self.like.shape)}: {refused}")

    def run(self) -> Audit:
        rows, new = self.first_run()
        stream = self.stream
        if not all(bool(logits.isfinite().all()) for logits in new):
            raise UserError("the logits of the stream are not finite")
        self.audit.found("random_state", self.random_state(rows))
        if stream.quiet:
            new = stream.anew(rows, self.uneven)
        if not self.measure(rows, new):
            self.audit.untested.append("all: its logits are the same, whatever the inputs")
            return self.audit
        self.audit.found("kept_state", self.kept_state(rows, new))
        if "kept_state" not in self.audit.names:
            self.measure_rounding(rows)
            self.audit.found("lost_state", self.lost_state(rows))
            shared = self.mixed_rows(rows) or self.second_stream(rows) or self.kept_graph(rows)
            self.audit.found("shared_state", shared or stream.overwritten)
        stream.reset()
        return self.audit

    def moved(self, before: Logits, after: Logits, keep: slice = slice(None)) -> str:
        """How far the logits of the rows `keep` moved, in words; empty if by rounding alone."""
        before, after = ([logits[keep] for logits in each] for each in (before, after))
        return difference([*zip(before, after, strict=True)], self.tolerance, largest_of(before))

    def random_state(self, rows: Tensor) -> str:
        """Two resets with other random numbers differ, and with the same ones don't."""
        self.stream.anew(rows, self.uneven)  # what a reset may keep is then the same in all
        one, same, other = (self.stream.anew(rows, self.uneven, seed) for seed in (0, 0, 1))
        if self.moved(one, same) or not (moved := self.moved(one, other)):
            return ""
        self.stream.quiet = self.given.quiet = True
        return f"the same rows after a reset, with other random numbers, move {moved}"

    def measure(self, rows: Tensor, new: Logits) -> bool:
        """Whether the logits move with the inputs; notes how far they may move by rounding."""
        other = self.stream.anew(self.rows(), self.uneven)
        spread = largest_of(a - b for a, b in zip(new, other, strict=True))
        self.tolerance = max(1e-4 * spread, 16 * self.stream.eps * largest_of(new))
        return spread > self.tolerance

    def measure_rounding(self, rows: Tensor) -> None:
        """Raises the tolerance if the network amplifies rounding, as large weights do."""
        before = self.stream.anew(rows, self.uneven)
        weights = find_modules(self.stream.stream).parameters()
        with changed(weights, blur(self.sampler.generator)):
            after = self.stream.anew(rows, self.uneven)
        by_rounding = largest_of(a - b for a, b in zip(before, after, strict=True))
        self.tolerance = max(self.tolerance, 4 * by_rounding)

    def kept_state(self, rows: Tensor, new: Logits) -> str:
        """After a reset, something is left of what came before."""
        stream, few = self.stream, rows[:1] if len(rows) > 1 else torch.cat([rows, self.rows()])
        stream.anew(self.rows(), self.uneven)
        if moved := self.moved(new, stream.anew(rows, self.uneven)):
            return f"after other rows and a reset, the rows of a new stream move {moved}"
        what = f"{len(few)} row{'s' * (len(few) > 1)} instead of {len(rows)}"
        with suppress(Exception):  # without a reset between them: a state for each batch size
            stream.run(few, self.uneven)
        try:
            first = stream.anew(few, self.uneven)
        except Exception as error:
            with self.trying(f"kept_state, of {what}"):  # perhaps a new one refuses them, too
                if fresh := self.given.copied():
                    fresh.run(few, self.uneven)
                    said = one_line(error)
                    return f"after a reset it refuses {what}, which a new one takes: {said}"
                raise
            stream.reset()
            return ""
        with suppress(Exception):
            stream.run(self.rows(), self.uneven)
        if moved := self.moved(first, stream.anew(few, self.uneven)):
            return f"after {len(rows)} rows and a reset, {what} move {moved}"
        if moved := self.moved(new, stream.anew(rows, self.uneven)):
            return f"after {what} and a reset, {len(rows)} rows move {moved}"
        return ""

    def lost_state(self, rows: Tensor) -> str:
        """Chunks give other logits than all steps at once, or nothing of earlier steps is left."""
        stream, steps, whole = self.stream, self.steps, Logits()
        with self.trying(f"lost_state, of {steps} steps at once"):
            whole = stream.anew(rows, [steps])
        for chunks in ([self.unit] * (steps // self.unit), self.uneven) if whole else ():
            how = "of 1 step" if max(chunks) == 1 else f"of {min(chunks)} to {max(chunks)} steps"
            with self.trying(f"lost_state, in chunks {how}"):
                before, after = whole, stream.anew(rows, chunks)
                if whole[0].dim() > 2:  # logits of each step
                    after = [torch.cat(after, dim=1)]
                else:
                    ends = torch.tensor(chunks).cumsum(0).tolist()
                    before = [stream.anew(rows[:, :end], [end])[0] for end in ends]
                if moved := self.moved(before, after):
                    return f"chunks {how} instead of all {steps} steps at once move {moved}"
        other, half = self.rows(), self.half
        mixed = torch.cat([other[:, :half], rows[:, half:]], dim=1)
        chunks = [*self.chunks_of(half), *(later := self.chunks_of(steps - half))]
        one, two = (stream.anew(each, chunks)[-len(later) :] for each in (rows, mixed))
        if all(map(torch.equal, one, two)):
            return f"other content in the first {half} steps changes nothing in the chunks after it"
        return ""

    def mixed_rows(self, rows: Tensor) -> str:
        """The other rows of a batch change a row."""
        if len(rows) == 1:
            rows = torch.cat([rows, self.rows()])
        with self.trying("shared_state, of two rows"):
            before = self.stream.anew(rows, self.uneven)
            for keep in {0, len(rows) - 1}:
                others = self.rows(len(rows))
                others[keep] = rows[keep]
                after = self.stream.anew(others, self.uneven)
                if moved := self.moved(before, after, slice(keep, keep + 1)):
                    return f"new content in the other rows moves, of row {keep}, {moved}"
        return ""

    def second_stream(self, rows: Tensor) -> str:
        """What a second stream reads changes the first one: one with its own weights, and, where
        the stream is an object around its modules, one with the same."""
        stream, half = self.given.stream, self.half
        whole = isinstance(stream, nn.Module | functools.partial) or inspect.isroutine(stream)
        chunks = self.chunks_of(half), self.chunks_of(self.steps - half)
        for modules in [[]] if whole or not self.modules else [[], [*self.modules]]:
            one, two = self.given.copied(modules), self.given.copied(modules)
            if one is None or two is None:
                self.audit.untested.append("shared_state, of a second stream: it can't be copied")
                return ""
            before = one.anew(rows, [*chunks[0], *chunks[1]])
            after = one.anew(rows[:, :half], chunks[0])
            for _ in range(2):
                two.anew(self.rows(), self.uneven)
            after += one.run(rows[:, half:], chunks[1])
            if moved := self.moved(before, after):
                what = "of the same weights" if modules else "of the same class"
                return f"a second stream {what}, run between two chunks, moves {moved}"
        return ""

    def kept_graph(self, rows: Tensor) -> str:
        """In training, the graph of the logits grows with each call."""
        self.stream.reset()
        modules = find_modules(self.stream.stream)
        with self.trying("shared_state, of graphs in training"), training(modules):
            chunks = islice(cycle(rows.split(self.unit, dim=1)), CALLS)
            sizes = [len(nodes_of(self.stream(chunk))) for chunk in chunks]
            if all(a < b for a, b in pairwise(sizes[1:])):
                grown = f"grows from {sizes[1]} operations to {sizes[-1]} over {CALLS - 1} calls"
                return f"the state keeps its graph: with gradients on, that of the logits {grown}"
        return ""
