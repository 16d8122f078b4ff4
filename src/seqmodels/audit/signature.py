"""How a model takes a batch, and which part of what it returns are the logits."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqmodels.audit.random_inputs import int_lengths
from seqmodels.audit.structure import children, leaves, mapped, tensors_in
from seqmodels.errors import UserError, choices
from seqmodels.padding import valid_steps

PADDING = ("none", "front")  # there is none, or it stands before the content


class Role(Enum):
    """What an argument holds, and what is in the name of a parameter that takes it."""

    PADDING = "pad"  # a mask, True at padding
    MASK = "mask"  # True at valid steps
    LENGTHS = "len"
    TARGETS = "target|tgt|trg"
    STATE = "hid|state|carry|^h[xc]?$|^h_?0$"
    INPUTS = None  # the first parameter, whatever its name
    FIXED = ""  # something else, the same for all rows


ENDS = {Role.PADDING, Role.MASK, Role.LENGTHS}  # they say where a row ends


class Batch(NamedTuple):
    """What the audit changes: rows `(B, T, ...)` padded at the end, and what belongs to them."""

    rows: Tensor
    lengths: list[int]
    state: Any = None
    targets: Tensor | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows and steps of the logits."""
        return len(self.rows), (self.rows if self.targets is None else self.targets).shape[1]


class Signature:
    """Makes the arguments of a model from a batch, and logits `(B, T, ...)` from what it returns.

    The arguments are as in your example: a tensor, beside which the model takes what its parameters
    are named for; or a tuple or mapping of arguments, or of the parts of a batch, where the batch's
    own take the place of what equals the lengths, their mask or the targets.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        inputs: Any,
        lengths: Any,
        kind: str,
        causal: bool,
        padding: int | float | str | None,
        targets: Tensor | None,
    ) -> None:
        if isinstance(padding, str) and padding not in PADDING:
            raise UserError(f"padding={padding}: give a value, or {choices(padding, PADDING)}")
        self.model, self.kind, self.padding, self.targets = model, kind, padding, targets
        self.path: tuple[Any, ...] | None = None  # to the logits in what the model returns
        plain, parameters = isinstance(inputs, Tensor), _parameters(model)
        example = {0: inputs} if plain else _arguments(inputs, parameters)
        values = [value for _, value in leaves(example)]
        tensors = [value for value in values if isinstance(value, Tensor) and value.dim() > 1]
        given: Any = next((value for value in values if isinstance(value, PackedSequence)), None)
        if given is not None:
            rows, lengths = pad_packed_sequence(given, batch_first=True)
        elif lengths is None and padding == "none" and tensors:
            lengths = [tensors[0].shape[1]] * len(tensors[0])
        elif lengths is None:
            raise UserError("give lengths, or padding='none' where all rows have one length")
        self.lengths = int_lengths(lengths)
        if given is None:
            others = (t for t in tensors if plain or self._role(t) is Role.FIXED)
            given = rows = next(others, inputs)
        if not isinstance(rows, Tensor):
            raise UserError("inputs hold no rows: a tensor (B, T) or (B, T, F), or time first")
        self.time_first = len(rows) != len(self.lengths) == rows.shape[1:2].numel()
        rows = rows.transpose(0, 1) if self.time_first else rows
        self.sizes, self.roles = rows.shape[:2], set[Role]()
        if padding == "none" and self.lengths.tolist() != [self.sizes[-1]] * len(rows):
            raise UserError("padding='none', but lengths differ from the number of steps")
        if plain:
            self.arguments = self._by_name(parameters, padding is not None or causal)
        else:
            self.arguments = mapped(example, partial(self._by_value, given))
            if targets is not None and Role.TARGETS not in self.roles:
                self.arguments[len(example)] = self._filler(Role.TARGETS)
        if targets is not None and self.time_first:
            self.targets = targets.t()
        self.value = None if isinstance(padding, str) else padding  # what padding always holds
        if padding == "front":
            if not self.roles & ENDS:  # the model can know padding by its value alone
                held = rows[~self._valid(self.lengths, self.sizes[1])]
                self.value = held.flatten()[0].item() if held.numel() else 0
            rows = _rolled(rows, self.lengths - self.sizes[1])
        self.rows = rows

    def call(self, batch: Batch) -> tuple[Any, Any]:
        """`(logits, state)` of a batch; the state is None if the model takes or returns none."""
        filled = mapped(self.arguments, lambda fill: fill(batch))
        named = {key: value for key, value in filled.items() if isinstance(key, str)}
        result = self.model(*(value for key, value in filled.items() if key not in named), **named)
        if self.path is None:
            self.path = self._find(result, batch)
        logits = reduce(lambda part, key: children(part)[key], self.path, result)
        if isinstance(logits, PackedSequence):
            logits, _ = pad_packed_sequence(logits, batch_first=True)
        elif self.kind != "sequence" and isinstance(logits, Tensor):
            if self.time_first and logits.shape[:2] == batch.sizes[::-1]:
                logits = logits.transpose(0, 1)
            if self.padding == "front" and self.kind == "per_step":
                logits = _rolled(logits, torch.tensor(batch.lengths) - logits.shape[1])
        carries = Role.STATE in self.roles and self.path == (0,) and len(result) == 2
        return logits, result[1] if carries and tensors_in(result[1]) else None

    def _find(self, result: Any, batch: Batch) -> tuple[Any, ...]:
        """The path to what is called logits, or has their shape, or comes first."""
        rows, steps = batch.sizes

        def rank(path: tuple[Any, ...], part: Any) -> int:
            if path[-1:] == ("logits",):
                return 0
            if isinstance(part, PackedSequence):
                return 1
            if self.kind == "sequence":
                fits = part.shape[:1] == (rows,) and (part.shape[1:2] != (steps,) or steps == 1)
            else:
                shape = part.shape[:2]
                fits = shape == (rows, steps) or (self.time_first and shape == (steps, rows))
            return 1 if fits else 2

        found = [(path, part) for path, part in leaves(result) if _is_floating(part)]
        return min(found, key=lambda pair: rank(*pair), default=((), None))[0]

    # ---------------------------------------------------------------- roles

    def _by_name(self, parameters: list[inspect.Parameter], may_be_blind: bool) -> dict[Any, Any]:
        """What the parameters are named for, or else inputs, lengths, and targets or a state."""
        third, other = Role.STATE, Role.TARGETS
        if self.targets is not None:
            third, other = other, third
        usual = [Role.INPUTS, Role.LENGTHS, third]
        if (
            len(parameters) <= (not may_be_blind)
            or parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL
        ):
            return dict(enumerate(map(self._filler, usual[: 2 if third is Role.STATE else 3])))
        arguments: dict[Any, Any] = {0: self._filler(Role.INPUTS)}
        for number, parameter in enumerate(parameters[1:], start=1):
            required = parameter.default is parameter.empty
            name = parameter.name.lower()
            role = next((r for r in Role if r.value and re.search(r.value, name)), None)
            if role in {None, other, *self.roles} and (required or parameter.default is None):
                role = dict(enumerate(usual)).get(number)
            wanted = number == 1 or role is third or (role in ENDS and not self.roles & ENDS)
            if not role or role in {other, *self.roles} or not (wanted or required):
                continue
            by_keyword = parameter.kind is parameter.KEYWORD_ONLY or number > len(arguments)
            arguments[parameter.name if by_keyword else number] = self._filler(role)
        return arguments

    def _by_value(self, given: Any, value: Any) -> Callable[[Batch], Any]:
        return self._filler(Role.INPUTS if value is given else self._role(value), value)

    def _role(self, value: Any) -> Role:
        """Of a value in your example, by comparing it with lengths, masks and targets."""
        value = torch.tensor(value) if isinstance(value, list | tuple) and value else value
        if not isinstance(value, Tensor):
            return Role.FIXED
        value = value.detach().cpu().double()
        if value.shape == self.lengths.shape and torch.equal(value, self.lengths.double()):
            return Role.LENGTHS
        if self.targets is not None and torch.equal(value, self.targets.cpu().double()):
            return Role.TARGETS
        if value.dim() == 2:
            value = value.t() if len(value) != len(self.lengths) else value
            if len(value) == len(self.lengths):
                mask = self._valid(self.lengths, value.shape[1]).double()
                if torch.equal(value, mask):
                    return Role.MASK
                if bool(value.any()) and torch.equal(value, 1 - mask):
                    return Role.PADDING
        return Role.FIXED

    # ---------------------------------------------------------------- arguments

    def _filler(self, role: Role, like: Any = None) -> Callable[[Batch], Any]:
        """What makes an argument of a batch, of the type and layout of the one in your example."""
        self.roles.add(role)
        return partial(self._filled, role, like)

    def _filled(self, role: Role, like: Any, batch: Batch) -> Any:
        rows, lengths = batch.rows, batch.lengths
        if role is Role.STATE:
            return batch.state
        if role is Role.LENGTHS:
            in_a_list = isinstance(like, list | tuple)
            return lengths if in_a_list else _typed(torch.tensor(lengths), like)
        if isinstance(like, PackedSequence):
            return pack_padded_sequence(rows, lengths, True, like.sorted_indices is None)
        if role in (Role.MASK, Role.PADDING):
            mask = self._valid(lengths, rows.shape[1]) ^ (role is Role.PADDING)
            turned = like is not None and like.shape == self.sizes[::-1] != self.sizes
            return _typed(mask.t() if turned else mask, like).to(rows.device)
        if role is Role.FIXED:
            return self._fixed(like, batch)
        value: Any = rows if role is Role.INPUTS else batch.targets
        if role is Role.INPUTS and self.padding == "front":
            value = _rolled(rows, rows.shape[1] - torch.tensor(lengths))
        return value.transpose(0, 1) if self.time_first else value

    def _fixed(self, value: Any, batch: Batch) -> Any:
        """A value of your example, for the rows and steps of the batch as for the first."""
        if not isinstance(value, Tensor):
            return value
        for axis, size in enumerate(value.shape[:2]):
            if size in self.sizes:
                count = batch.rows.shape[self.sizes.index(size)]
                value = value.narrow(axis, 0, 1).repeat_interleave(count, axis)
        return value.to(batch.rows.device)

    def _valid(self, lengths: Any, steps: int) -> Tensor:
        mask = valid_steps(lengths, steps)
        return mask.flip(1) if self.padding == "front" else mask


def _typed(value: Tensor, like: Any) -> Tensor:
    return value if like is None else value.to(like)


def _rolled(rows: Tensor, by: Tensor) -> Tensor:
    """Each row `(T, ...)` moved later by so many steps."""
    return torch.stack([row.roll(int(n), 0) for row, n in zip(rows, by, strict=False)])


def _is_floating(value: Any) -> bool:
    value = value.data if isinstance(value, PackedSequence) else value
    return isinstance(value, Tensor) and value.is_floating_point()


def _parameters(model: Callable[..., Any]) -> list[inspect.Parameter]:
    """Of a call of the model; none if Python does not know them."""
    try:
        signature = inspect.signature(model.forward if isinstance(model, nn.Module) else model)
    except (TypeError, ValueError):
        return []
    return [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]


def _arguments(example: Any, parameters: list[inspect.Parameter]) -> dict[Any, Any]:
    """The example as arguments by number or name; or as the only one."""
    if isinstance(example, Mapping) and {*example} <= {p.name for p in parameters}:
        return {**example}
    several = isinstance(example, list | tuple) and not hasattr(example, "_fields")
    if several and 1 < len(example) <= len([p for p in parameters if p.kind is not p.KEYWORD_ONLY]):
        return dict(enumerate(example))
    return {0: example}
