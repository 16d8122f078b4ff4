"""Audit a stream: a model that keeps its state from one call to the next."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import cycle, islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.findings import Audit
from seqmodels.audit.isolation import find_modules, isolated, training
from seqmodels.audit.leaks import mixed_rows
from seqmodels.audit.probe import Probe, largest_of
from seqmodels.audit.random_inputs import Sampler
from seqmodels.audit.recurrences import nodes_of
from seqmodels.errors import UserError, one_line

MOST_STEPS = 24  # of a row: what a state has seen fades
UNEVEN = (1, 3, 2, 5)  # steps of chunks, again and again
CALLS = 6  # in which a graph may grow

Logits = list[Tensor]  # of each row, `(K, C)`: of its steps, or after its chunks


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
    given, refused = _Stream(stream, reset), ""
    inputs = inputs[:, :MOST_STEPS]
    with isolated(find_modules(stream), seed):
        for unit in range(1, inputs.shape[1] // 2 + 1):
            checks = _Checks(given, inputs, seed, unit)
            try:
                new = checks.logits(checks.rows, run=checks.stream.go_on)
            except UserError:
                raise
            except Exception as error:  # noqa: BLE001 (a stream may refuse a shape in any way)
                refused = refused or one_line(error)
                checks.stream.begin()
                continue
            if refused:
                checks.probe.untested.append(f"chunks of 1 step: {refused}")
            return checks.run(new)
    raise UserError(f"the stream cannot be run on {tuple(inputs.shape)}: {refused}")


def assert_stream_clean(stream: Callable[[Tensor], Tensor], inputs: Tensor, **options: Any) -> None:
    """For your tests: takes what `audit_stream` takes, and raises an AssertionError that lists the
    findings, if any."""
    __tracebackhide__ = True
    findings = audit_stream(stream, inputs, **options).findings
    assert not findings, "\n".join(str(finding) for finding in findings)


class _Stream:
    """A stream with its reset; notes what it does to tensors that are its caller's."""

    def __init__(self, stream: Callable[[Tensor], Tensor], begin: Callable[[], Any]) -> None:
        self.stream, self.begin, self.overwritten = stream, begin, ""

    def copied(self, shared: Iterable[nn.Module] = ()) -> _Stream | None:
        """Another one with the same state; None if there is no way to copy it."""
        with suppress(Exception):  # its classes may refuse in any way
            memo = {id(module): module for module in shared}
            stream, begin = copy.deepcopy((self.stream, self.begin), memo)
            # a function is copied as itself, with the state that it refers to
            if stream is not self.stream and not inspect.isfunction(begin):
                return _Stream(stream, begin)
        return None

    def run(self, rows: Tensor, lengths: Tensor, chunks: list[int]) -> Tensor:
        """As a model of whole rows: resets, and gives `go_on`."""
        self.begin()
        return self.go_on(rows, lengths, chunks)

    def go_on(self, rows: Tensor, lengths: Tensor, chunks: list[int]) -> Tensor:
        """The logits of whole rows in chunks of these sizes, `(B, K, C)`."""
        given, made, kept = rows.split(chunks, dim=1), list[Tensor](), list[Tensor]()
        passed = [chunk.clone() for chunk in given]
        for chunk in passed:
            self.last = logits = self.stream(chunk)
            if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.dim() < 2:
                raise UserError(
                    f"the stream returns {type(logits).__name__} instead of logits (B, t, C) or "
                    "(B, C): audit a function that returns them alone"
                )
            made.append(logits)
            kept.append(logits.clone())
        if not all(map(torch.equal, passed, given)):
            self.overwritten = "a call changes the values of a chunk that it was given"
        if not all(map(torch.equal, made, kept)):
            self.overwritten = "a call changes the values of the logits that an earlier one gave"
        return torch.cat(kept, dim=1) if self.last.dim() > 2 else torch.stack(kept, dim=1)


class _Checks:
    """Of a copy of the stream, or of the given one; each returns its evidence, or an empty string.
    `unit` is the fewest steps that a chunk may have."""

    def __init__(self, given: _Stream, inputs: Tensor, seed: int, unit: int) -> None:
        self.given, self.stream, self.unit = given, given.copied() or given, unit
        self.steps = inputs.shape[1] // unit * unit
        self.half = self.steps // unit // 2 * unit
        self.uneven = self.chunks_of(self.steps)
        model = partial(self.stream.run, chunks=self.uneven)
        sampler = Sampler(inputs, None, seed, padding="none")
        self.probe = Probe(model, "sequence", sampler, seed, find_modules(self.stream.stream))
        self.probe.device, self.probe.dtype = inputs.device, inputs.dtype
        self.probe.lengths = [self.steps] * len(inputs)
        self.rows = self.drawn()

    def chunks_of(self, steps: int) -> list[int]:
        """So many steps in chunks of uneven sizes."""
        chunks, sizes = list[int](), cycle(UNEVEN)
        while left := steps - sum(chunks):
            chunks.append(min(self.unit * next(sizes), left))
        return chunks

    def drawn(self) -> Tensor:
        """Random rows, as many as were given."""
        rows = self.probe.sampler.batch(self.probe.lengths)
        return rows.to(self.probe.device, self.probe.dtype)

    def logits(self, rows: Tensor, chunks: list[int] | None = None, run: Any = None) -> Logits:
        """What `run`, by default of the stream under test, gives in these or uneven chunks."""
        probe = copy.copy(self.probe)
        probe.model = partial(run or self.stream.run, chunks=chunks or self.uneven)
        return probe.rows(rows)

    def second_half(
        self, rows: Tensor, stream: _Stream | None = None, between: _Stream | None = None
    ) -> Logits:
        """What a stream gives for the rows' second half; `between` runs after their first half."""
        half, stream = self.half, stream or self.stream
        self.logits(rows[:, :half], self.chunks_of(half), stream.run)
        for run in [between.run] * 2 if between else []:
            self.logits(self.drawn(), run=run)
        return self.logits(rows[:, half:], self.chunks_of(self.steps - half), stream.go_on)

    def run(self, new: Logits) -> Audit:
        """All checks. `new` is what the stream gave for the rows as new, without a reset."""
        audit = Audit(untested=self.probe.untested)
        if not all(bool(logits.isfinite().all()) for logits in new):
            raise UserError("the logits of the stream are not finite")
        if evidence := self.random_state():
            audit.found("random_state", evidence)
            self.probe.quiet = True
            new = self.logits(self.rows)
        if not self.measure(new):
            audit.untested.append("all: its logits are the same, whatever the inputs")
            return audit
        audit.found("kept_state", self.kept_state(new) or self.kept_size(new))
        if "kept_state" not in audit.names:
            self.probe.measure_rounding()
            audit.found("lost_state", self.other_chunks() or self.forgotten())
            shared = self.mixed_rows() or self.second_stream() or self.kept_graph()
            audit.found("shared_state", shared or self.stream.overwritten)
        self.stream.begin()
        return audit

    def random_state(self) -> str:
        """Two resets with other random numbers differ, and with the same ones don't."""
        self.logits(self.rows)  # what a reset may keep is then the same in all
        one, same = self.logits(self.rows), self.logits(self.rows)
        self.probe.seed += 1
        moved = self.probe.moved(one, self.logits(self.rows))
        if not moved or self.probe.moved(one, same):
            return ""
        return f"the same rows after a reset, with other random numbers, move {moved}"

    def measure(self, new: Logits) -> bool:
        """Whether the logits move with the inputs; notes how far they may move by rounding."""
        other = self.logits(self.drawn())
        spread = largest_of(a - b for a, b in zip(new, other, strict=True))
        relative = spread / (largest_of([*new, *other]) or 1.0)
        rounding = 16 * torch.finfo(self.stream.last.dtype).eps
        self.probe.tolerance = max(1e-4 * relative, rounding)
        return relative > rounding

    def kept_state(self, new: Logits) -> str:
        """After a reset, something is left of what came before."""
        self.logits(self.drawn())
        moved = self.probe.moved(new, self.logits(self.rows))
        return moved and f"after other rows and a reset, the rows of a new stream move {moved}"

    def kept_size(self, new: Logits) -> str:
        """After a reset, something is left of another number of rows."""
        rows = self.rows
        few = rows[:1] if len(rows) > 1 else torch.cat([rows, self.drawn()])
        what = f"{len(few)} row{'s' * (len(few) > 1)} instead of {len(rows)}"
        with self.probe.trying(f"kept_state, of {what}"):
            with suppress(Exception):  # without a reset between them: a state for each batch size
                self.logits(few, run=self.stream.go_on)
            try:
                first = self.logits(few)
            except Exception as error:
                if not (copied := self.given.copied()):
                    raise
                self.logits(few, run=copied.go_on)  # perhaps it refuses them, too
                said = one_line(error)
                return f"after a reset it refuses {what}, which a new one takes: {said}"
            with suppress(Exception):
                self.logits(self.drawn(), run=self.stream.go_on)
            if moved := self.probe.moved(first, self.logits(few)):
                return f"after {len(rows)} rows and a reset, {what} move {moved}"
            if moved := self.probe.moved(new, self.logits(rows)):
                return f"after {what} and a reset, {len(rows)} rows move {moved}"
        return ""

    def other_chunks(self) -> str:
        """Chunks give other logits than all steps at once."""
        steps, whole = self.steps, Logits()
        with self.probe.trying(f"lost_state, of {steps} steps at once"):
            whole = self.logits(self.rows, [steps])
        for chunks in ([self.unit] * (steps // self.unit), self.uneven) if whole else ():
            how = "of 1 step" if max(chunks) == 1 else f"of {min(chunks)} to {max(chunks)} steps"
            with self.probe.trying(f"lost_state, in chunks {how}"):
                after = self.logits(self.rows, chunks)
                if self.stream.last.dim() == 2:  # logits after each chunk
                    ends = torch.tensor(chunks).cumsum(0).tolist()
                    parts = [self.logits(self.rows[:, :end], [end]) for end in ends]
                    whole = [torch.cat(row) for row in zip(*parts, strict=True)]
                if moved := self.probe.moved(whole, after):
                    return f"chunks {how} instead of all {steps} steps at once move {moved}"
        return ""

    def forgotten(self) -> str:
        """Nothing of earlier steps is left."""
        other = self.drawn()
        other[:, self.half :] = self.rows[:, self.half :]
        if all(map(torch.equal, self.second_half(self.rows), self.second_half(other))):
            what = f"the first {self.half} steps"
            return f"other content in {what} changes nothing in the chunks after it"
        return ""

    def mixed_rows(self) -> str:
        """The other rows of a batch change a row."""
        lengths = [self.steps] * max(len(self.rows), 2)
        with self.probe.trying("shared_state, of two rows"):
            return mixed_rows(self.probe, [lengths], orders=False)
        return ""

    def second_stream(self) -> str:
        """What a second stream reads changes the first one: one with its own weights, and, where
        the stream is an object around its modules, one with the same."""
        stream, modules = self.given.stream, find_modules(self.given.stream)
        whole = isinstance(stream, nn.Module | partial) or inspect.isroutine(stream)
        for shared in [[]] if whole or not modules else [[], [*modules]]:
            one, two = self.given.copied(shared), self.given.copied(shared)
            if one is None or two is None:
                self.probe.untested.append("shared_state, of a second stream: it can't be copied")
                return ""
            before, after = self.second_half(self.rows, one), self.second_half(self.rows, one, two)
            if moved := self.probe.moved(before, after):
                what = "of the same weights" if shared else "of the same class"
                return f"a second stream {what}, run between two chunks, moves {moved}"
        return ""

    def kept_graph(self) -> str:
        """In training, the graph of the logits grows with each call."""
        self.stream.begin()
        with self.probe.trying("shared_state, of graphs in training"), training(self.probe.modules):
            chunks = islice(cycle(self.rows.split(self.unit, dim=1)), CALLS)
            sizes = [len(nodes_of(self.stream.stream(chunk))) for chunk in chunks]
            if all(a < b for a, b in pairwise(sizes[1:])):
                grown = f"grows from {sizes[1]} operations to {sizes[-1]} over {CALLS - 1} calls"
                return f"the state keeps its graph: with gradients on, that of the logits {grown}"
        return ""
