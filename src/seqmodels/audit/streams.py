"""Audit a stream: a model that keeps its state from one call to the next."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate, cycle, islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.findings import Audit
from seqmodels.audit.isolation import isolated, training
from seqmodels.audit.leaks import mixed_rows, random_state
from seqmodels.audit.modules import find_modules
from seqmodels.audit.probe import Probe, nodes_of
from seqmodels.audit.random_inputs import Sampler
from seqmodels.errors import UserError, one_line, unusable

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
    with isolated(find_modules(stream), seed):
        probe = _Stream(stream, reset, inputs[:, :MOST_STEPS], seed)
        probe = probe.copied() or probe
        with unusable(
            f"the stream cannot be run on {tuple(inputs.shape)} in chunks of 1 to {max(UNEVEN)} "
            "steps: if it takes frames of several, audit a function with a frame for a step"
        ):
            new = probe.logits(probe.inputs, goes_on=True)
        return probe.checked(new)


def assert_stream_clean(stream: Callable[[Tensor], Tensor], inputs: Tensor, **options: Any) -> None:
    """For your tests: takes what `audit_stream` takes, and raises an AssertionError that lists the
    findings, if any."""
    __tracebackhide__ = True
    audit_stream(stream, inputs, **options).assert_clean()


class _Stream(Probe):
    """A stream as a model of whole rows: a call resets it, or goes on, and passes them in chunks.

    Each check returns its evidence, or an empty string.
    """

    def __init__(self, stream: Any, begin: Any, inputs: Tensor, seed: int) -> None:
        sampler = Sampler(inputs, None, seed, padding="none")
        super().__init__(stream, "sequence", sampler, seed, find_modules(stream))
        self.given, self.begin = (stream, begin), begin
        self.device, self.dtype = inputs.device, inputs.dtype
        self.steps, self.half = inputs.shape[1], inputs.shape[1] // 2
        self.lengths = [self.steps] * len(inputs)
        self.inputs = self.drawn()
        self.overwritten = ""  # what it does to tensors that are its caller's

    def copied(self, shared: Iterable[nn.Module] = ()) -> _Stream | None:
        """Another one, as it was given; None if there is no way to copy it."""
        with suppress(Exception):  # its classes may refuse in any way
            other, memo = copy.copy(self), {id(module): module for module in shared}
            other.model, other.begin = copy.deepcopy(self.given, memo)
            other.modules = find_modules(other.model)
            # a function is copied as itself, with the state that it refers to
            if other.model is not self.given[0] and not inspect.isfunction(other.begin):
                return other
        return None

    def uneven(self, steps: int) -> list[int]:
        """So many steps in chunks of uneven sizes."""
        chunks, sizes = list[int](), cycle(UNEVEN)
        while left := steps - sum(chunks):
            chunks.append(min(next(sizes), left))
        return chunks

    def drawn(self) -> Tensor:
        """Random rows, as many as were given."""
        return self.sampler.batch(self.lengths).to(self.device, self.dtype)

    def call(
        self, inputs: Tensor, lengths: Sequence[int], state: Any = None, chunks: Sequence[int] = ()
    ) -> tuple[Tensor, Any]:
        """The logits of whole rows, `(B, K, C)`, in these chunks, or in uneven ones. Resets the
        stream if there is no state."""
        if state is None:
            self.begin()
        sizes = [*chunks] or self.uneven(inputs.shape[1])
        given = inputs.to(self.device, self.dtype).split(sizes, dim=1)
        passed, made, kept = [chunk.clone() for chunk in given], list[Tensor](), list[Tensor]()
        for chunk in passed:
            logits = self.run(chunk)
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
        if not self.eps:
            self.note_rounding(kept[0])
        return (torch.cat if kept[0].dim() > 2 else torch.stack)(kept, dim=1), True

    def logits(self, rows: Tensor, chunks: Sequence[int] = (), goes_on: bool = False) -> Logits:
        with torch.no_grad():
            made, _ = self.call(rows, self.lengths, goes_on or None, chunks)
        return self.valid(made, self.lengths)

    def second_half(self, rows: Tensor, between: _Stream | None = None) -> Logits:
        """What it gives for the rows' second half; `between` runs after their first half."""
        self.logits(rows[:, : self.half])
        for other in [between] * 2 if between else []:
            other.logits(self.drawn())
        return self.logits(rows[:, self.half :], goes_on=True)

    def checked(self, new: Logits) -> Audit:
        """All checks. `new` is what the stream gave for its inputs as new, without a reset."""
        audit = Audit(untested=self.untested)
        if not all(bool(logits.isfinite().all()) for logits in new):
            raise UserError("the logits of the stream are not finite")
        if evidence := random_state(self):
            audit.found("random_state", evidence)
            self.quiet = True
            new = self.logits(self.inputs)
        if not self.moved(new, self.logits(self.drawn())):
            audit.untested.append("all: its logits are the same, whatever the inputs")
            return audit
        audit.found("kept_state", self.kept_state(new))
        if "kept_state" not in audit.names:
            self.measure_rounding()
            audit.found("lost_state", self.other_chunks() or self.forgotten())
            shared = self.mixed_rows() or self.second_stream() or self.overwritten
            audit.found("shared_state", shared).found("kept_graph", self.kept_graph())
        self.begin()
        return audit

    def kept_state(self, new: Logits) -> str:
        """After a reset, something is left of other rows, or of another number of them."""
        rows = self.inputs
        self.logits(self.drawn())
        if moved := self.moved(new, self.logits(rows)):
            return f"after other rows and a reset, the rows of a new stream move {moved}"
        few = rows[:1] if len(rows) > 1 else torch.cat([rows, self.drawn()])
        what = f"{len(few)} row{'s' * (len(few) > 1)} instead of {len(rows)}"
        with self.trying(f"kept_state, of {what}"):
            other = self.copied()
            first = other.logits(few, goes_on=True) if other else self.logits(few)
            with suppress(Exception):  # without a reset: there may be a state for each batch size
                self.logits(few, goes_on=True)
            try:
                again = self.logits(few)
            except Exception as error:  # noqa: BLE001 (in any way)
                said = one_line(error)
                return f"after a reset it refuses {what}, which a new one takes: {said}"
            if moved := self.moved(first, again):
                return f"after {len(rows)} rows and a reset, {what} move {moved}"
            if moved := self.moved(new, self.logits(rows)):
                return f"after {what} and a reset, {len(rows)} rows move {moved}"
        return ""

    def other_chunks(self) -> str:
        """Chunks give other logits than all steps at once."""
        steps, whole = self.steps, Logits()
        with self.trying(f"lost_state, of {steps} steps at once"):
            whole = self.logits(self.inputs, [steps])
        for chunks in ([1] * steps, self.uneven(steps)) if whole else ():
            how = "of 1 step" if max(chunks) == 1 else f"of {min(chunks)} to {max(chunks)} steps"
            with self.trying(f"lost_state, in chunks {how}"):
                after = self.logits(self.inputs, chunks)
                before = whole
                if len(whole[0]) == 1:  # logits after each chunk
                    ends = accumulate(chunks)
                    parts = [self.logits(self.inputs[:, :end], [end]) for end in ends]
                    before = [torch.cat(row) for row in zip(*parts, strict=True)]
                if moved := self.moved(before, after):
                    return f"chunks {how} instead of all {steps} steps at once move {moved}"
        return ""

    def forgotten(self) -> str:
        """Nothing of earlier steps is left."""
        other = self.drawn()
        other[:, self.half :] = self.inputs[:, self.half :]
        if all(map(torch.equal, self.second_half(self.inputs), self.second_half(other))):
            what = f"the first {self.half} steps"
            return f"other content in {what} changes nothing in the chunks after it"
        return ""

    def mixed_rows(self) -> str:
        """The other rows of a batch change a row."""
        with self.trying("shared_state, of two rows"):
            return mixed_rows(self, [[self.steps] * max(len(self.inputs), 2)], orders=False)
        return ""

    def second_stream(self) -> str:
        """What a second stream reads changes the first one: one with its own weights, and, where
        the stream is an object around its modules, one with the same."""
        stream = self.given[0]
        shared_modules: list[list[nn.Module]] = [[]]  # at first, both streams have their own
        if not isinstance(stream, nn.Module | partial) and not inspect.isroutine(stream):
            modules = [*find_modules(stream)]
            if modules:
                shared_modules.append(modules)
            else:
                self.untested.append(
                    "shared_state, of a second stream of the same weights: no nn.Module was found "
                    "in the stream: keep it in an attribute"
                )
        for shared in shared_modules:
            one, two = self.copied(shared), self.copied(shared)
            if one is None or two is None:
                self.untested.append("shared_state, of a second stream: it can't be copied")
                return ""
            before, after = one.second_half(self.inputs), one.second_half(self.inputs, two)
            if moved := self.moved(before, after):
                what = "of the same weights" if shared else "of the same class"
                return f"a second stream {what}, run between two chunks, moves {moved}"
        return ""

    def kept_graph(self) -> str:
        """In training, the graph of the logits grows with each call."""
        self.begin()
        with self.trying("kept_graph, in training"), training(self.modules):
            chunks = islice(cycle(self.inputs.split(1, dim=1)), CALLS)
            sizes = [len(nodes_of(self.model(chunk))) for chunk in chunks]
            if all(a < b for a, b in pairwise(sizes[1:])):
                grown = f"grows from {sizes[1]} operations to {sizes[-1]} over {CALLS - 1} calls"
                return f"with gradients on, the graph of the logits {grown}"
        return ""
