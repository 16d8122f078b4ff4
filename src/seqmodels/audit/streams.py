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

# The states of longer rows may forget their first steps.
MOST_STEPS = 24
# The steps of uneven chunks, again and again.
UNEVEN = (1, 3, 2, 5)
# So many calls show that a graph grows.
CALLS = 6

# Of each row, the logits of its steps, or those after its chunks: `(K, C)`.
Logits = list[Tensor]


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
            logits_of_new_stream = probe.logits(probe.inputs, goes_on=True)
        return probe.checked(logits_of_new_stream)


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
        super().__init__(stream, "per_step", sampler, seed, find_modules(stream))
        self.original = stream
        self.original_reset = begin
        self.begin = begin
        self.device = inputs.device
        self.dtype = inputs.dtype
        self.steps = inputs.shape[1]
        self.half = self.steps // 2
        self.lengths = [self.steps] * len(inputs)
        self.inputs = self.drawn()
        # Evidence that the stream writes to tensors that belong to its caller.
        self.overwritten = ""

    def copied(self, shared: Iterable[nn.Module] = ()) -> _Stream | None:
        """Another one, as it was given, with the same `shared` modules; None if there is no way to
        copy it."""
        with suppress(Exception):  # Its classes may refuse in any way.
            shared_by_id = {id(module): module for module in shared}
            stream_and_reset = (self.original, self.original_reset)
            probe = copy.copy(self)
            probe.model, probe.begin = copy.deepcopy(stream_and_reset, shared_by_id)
            probe.modules = find_modules(probe.model)
            # A function is copied as itself, with the state that it refers to.
            if probe.model is not self.original and not inspect.isfunction(probe.begin):
                return probe
        return None

    def uneven(self, steps: int) -> list[int]:
        """So many steps in chunks of uneven sizes."""
        chunks: list[int] = []
        remaining_steps = steps
        sizes = cycle(UNEVEN)
        while remaining_steps:
            chunk = min(next(sizes), remaining_steps)
            chunks.append(chunk)
            remaining_steps -= chunk
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
        sizes = list(chunks) or self.uneven(inputs.shape[1])
        inputs_by_chunk = inputs.to(self.device, self.dtype).split(sizes, dim=1)
        # A stream may write to a chunk or to logits: compare them with copies.
        passed_chunks = [chunk.clone() for chunk in inputs_by_chunk]
        returned_logits: list[Tensor] = []
        copied_logits: list[Tensor] = []
        for chunk in passed_chunks:
            logits = self.run(chunk)
            if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.dim() < 2:
                raise UserError(
                    f"the stream returns {type(logits).__name__} instead of logits (B, t, C) or "
                    "(B, C): audit a function that returns them alone"
                )
            returned_logits.append(logits)
            copied_logits.append(logits.clone())
        if not _equal(passed_chunks, inputs_by_chunk):
            self.overwritten = "a call changes the values of a chunk that it was given"
        if not _equal(returned_logits, copied_logits):
            self.overwritten = "a call changes the values of the logits that an earlier one gave"
        if not self.eps:
            self.note_rounding(copied_logits[0])
        if copied_logits[0].dim() > 2:
            return torch.cat(copied_logits, dim=1), True
        return torch.stack(copied_logits, dim=1), True

    def logits(self, rows: Tensor, chunks: Sequence[int] = (), goes_on: bool = False) -> Logits:
        """The logits of the rows in these chunks, or in uneven ones, after a reset unless the
        stream `goes_on`."""
        with torch.no_grad():
            logits, _ = self.call(rows, self.lengths, goes_on or None, chunks)
        return self.valid(logits, self.lengths)

    def second_half(self, rows: Tensor, between: _Stream | None = None) -> Logits:
        """The logits of the rows' second half; `between` runs after their first half."""
        self.logits(rows[:, : self.half])
        if between is not None:
            between.logits(self.drawn())
            between.logits(self.drawn())
        return self.logits(rows[:, self.half :], goes_on=True)

    def checked(self, logits_of_new_stream: Logits) -> Audit:
        """All checks.

        Args:
            logits_of_new_stream: of its inputs, without a reset.
        """
        audit = Audit(untested=self.untested)
        new = logits_of_new_stream
        if not any(bool(logits.isfinite().any()) for logits in new):
            raise UserError("the logits of the stream are not finite")
        self.measure_spread()
        evidence = random_state(self)
        if evidence:
            audit.found("random_state", evidence)
            self.quiet = True
            new = self.logits(self.inputs)
        if not bool(self.spread.any()):
            audit.untested.append("all: its logits are the same, whatever the inputs")
            return audit
        audit.found("kept_state", self.kept_state(new))
        if "kept_state" not in audit.names:
            self.measure_rounding()
            audit.found("lost_state", self.other_chunks() or self.forgotten())
            shared = self.mixed_rows() or self.second_stream() or self.overwritten
            audit.found("shared_state", shared)
            audit.found("kept_graph", self.kept_graph())
        self.begin()
        return audit

    def kept_state(self, new: Logits) -> str:
        """After a reset, something is left of other rows, or of another number of them.

        Args:
            new: the logits that a new stream gives for the inputs.
        """
        self.logits(self.drawn())
        moved = self.moved(new, self.logits(self.inputs))
        if moved:
            return f"after other rows and a reset, the rows of a new stream move {moved}"
        count = len(self.inputs)
        if count > 1:
            rows = self.inputs[:1]
            how_many = f"1 row instead of {count}"
        else:
            rows = torch.cat([self.inputs, self.drawn()])
            how_many = f"2 rows instead of {count}"
        with self.trying(f"kept_state, of {how_many}"):
            return self._kept_state_of_other_count(new, rows, how_many)
        return ""

    def _kept_state_of_other_count(self, new: Logits, rows: Tensor, how_many: str) -> str:
        """The stream, which has run on its inputs, is reset and gets another number of rows; then
        its inputs again."""
        count = len(self.inputs)
        new_stream = self.copied()
        if new_stream is not None:
            first = new_stream.logits(rows, goes_on=True)
        else:
            first = self.logits(rows)
        with suppress(Exception):  # Without a reset: there may be a state for each batch size.
            self.logits(rows, goes_on=True)
        try:
            again = self.logits(rows)
        except Exception as error:  # noqa: BLE001 (a stream may refuse them in any way)
            return f"after a reset it refuses {how_many}, which a new one takes: {one_line(error)}"
        moved = self.moved(first, again)
        if moved:
            return f"after {count} rows and a reset, {how_many} move {moved}"
        moved = self.moved(new, self.logits(self.inputs))
        if moved:
            return f"after {how_many} and a reset, {count} rows move {moved}"
        return ""

    def other_chunks(self) -> str:
        """Chunks give other logits than all steps at once."""
        whole = Logits()
        with self.trying(f"lost_state, of {self.steps} steps at once"):
            whole = self.logits(self.inputs, [self.steps])
        if not whole:
            return ""
        single_steps = [1] * self.steps
        for chunks in (single_steps, self.uneven(self.steps)):
            evidence = self._moved_by_chunks(whole, chunks)
            if evidence:
                return evidence
        return ""

    def _moved_by_chunks(self, whole: Logits, chunks: list[int]) -> str:
        """Chunks of these steps give other logits than `whole`, those of all steps at once."""
        sizes = "of 1 step"
        if max(chunks) > 1:
            sizes = f"of {min(chunks)} to {max(chunks)} steps"
        with self.trying(f"lost_state, in chunks {sizes}"):
            after = self.logits(self.inputs, chunks)
            has_logits_of_each_step = len(whole[0]) > 1
            before = whole if has_logits_of_each_step else self._after_each_chunk(chunks)
            moved = self.moved(before, after)
            if moved:
                return f"chunks {sizes} instead of all {self.steps} steps at once move {moved}"
        return ""

    def _after_each_chunk(self, chunks: list[int]) -> Logits:
        """The logits after each chunk, from all steps up to its end at once."""
        logits_by_end = [self.logits(self.inputs[:, :end], [end]) for end in accumulate(chunks)]
        return [torch.cat(logits_of_row) for logits_of_row in zip(*logits_by_end, strict=True)]

    def forgotten(self) -> str:
        """Nothing of earlier steps is left."""
        rows = self.drawn()
        rows[:, self.half :] = self.inputs[:, self.half :]
        if _equal(self.second_half(self.inputs), self.second_half(rows)):
            return (
                f"other content in the first {self.half} steps changes nothing in the chunks after "
                "it"
            )
        return ""

    def mixed_rows(self) -> str:
        """The other rows of a batch change a row."""
        with self.trying("shared_state, of two rows"):
            lengths = [self.steps] * max(len(self.inputs), 2)
            return mixed_rows(self, [lengths], orders=False)
        return ""

    def second_stream(self) -> str:
        """What a second stream reads changes the first one: one with its own weights, and, where
        the stream is an object around its modules, one with the same."""
        shared_modules: list[list[nn.Module]] = [[]]  # At first, each stream has its own.
        is_function = inspect.isroutine(self.original)
        if not isinstance(self.original, nn.Module | partial) and not is_function:
            modules = [*find_modules(self.original)]
            if modules:
                shared_modules.append(modules)
            else:
                self.untested.append(
                    "shared_state, of a second stream of the same weights: no nn.Module was found "
                    "in the stream: keep it in an attribute"
                )
        for shared in shared_modules:
            first_stream = self.copied(shared)
            second_stream = self.copied(shared)
            if first_stream is None or second_stream is None:
                self.untested.append("shared_state, of a second stream: it can't be copied")
                return ""
            before = first_stream.second_half(self.inputs)
            after = first_stream.second_half(self.inputs, second_stream)
            moved = self.moved(before, after)
            if moved:
                origin = "of the same weights" if shared else "of the same class"
                return f"a second stream {origin}, run between two chunks, moves {moved}"
        return ""

    def kept_graph(self) -> str:
        """In training, the graph of the logits grows with each call."""
        self.begin()
        with self.trying("kept_graph, in training"), training(self.modules):
            steps = self.inputs.split(1, dim=1)
            sizes: list[int] = []
            for chunk in islice(cycle(steps), CALLS):
                logits = self.model(chunk)
                sizes.append(len(nodes_of(logits)))
            later_sizes = sizes[1:]  # The first call may have no state.
            if all(size < next_size for size, next_size in pairwise(later_sizes)):
                return (
                    f"with gradients on, the graph of the logits grows from {later_sizes[0]} "
                    f"operations to {later_sizes[-1]} over {CALLS - 1} calls"
                )
        return ""


def _equal(tensors: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    """Whether each tensor has the same values as its counterpart."""
    return all(map(torch.equal, tensors, others))
