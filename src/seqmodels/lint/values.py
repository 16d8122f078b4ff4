"""What an expression holds: a network, what it reads or returned, and on which axis columns are."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from seqmodels.lint.source import LENGTHS, Source, last_name, without_same

CELLS = ("LSTM", "GRU", "RNN")
LAST_OPTIONS = ("bias", "batch_first", "dropout", "bidirectional")
# Where each class takes an option that may also be given by its name.
OPTION_POSITIONS = {
    "LSTM": ("input_size", "hidden_size", "num_layers", *LAST_OPTIONS),
    "RNN": ("input_size", "hidden_size", "num_layers", "nonlinearity", *LAST_OPTIONS),
}
# The axes of an output, by `batch_first`.
AXES: dict[Any, str] = {True: "BTH", False: "TBH"}

# What rows hold after their end. Zeros are at most a value of a maximum; "least" says that no
# value is below them, "lowest" that no value is as low, such as -inf.
ZEROS, LEAST, LOWEST, COUNTS, UNKNOWN = "zeros", "least", "lowest", "counts", "unknown"
NO_PADDING, NOT_SAID = "none", ""

# Modules that keep what stands in a column in its column, by what they make of padding.
KEEPS, FLOORS, ODD, CHANGES, EMBEDS = "keeps", "floors", "odd", "changes", "embeds"
EFFECTS = {
    **dict.fromkeys(("Dropout", "Identity"), KEEPS),
    "ReLU": FLOORS,
    **dict.fromkeys(("ELU", "GELU", "LeakyReLU", "SiLU", "Tanh"), ODD),
    **dict.fromkeys(("LayerNorm", "Linear", "Sigmoid"), CHANGES),
    "Embedding": EMBEDS,
}
# The same of functions.
EFFECTS_OF_FUNCTIONS = {
    "dropout": KEEPS,
    "relu": FLOORS,
    **dict.fromkeys(("elu", "gelu", "leaky_relu", "tanh"), ODD),
    "sigmoid": CHANGES,
}


@dataclass(frozen=True)
class Network:
    """An `nn.LSTM`, `nn.GRU` or `nn.RNN`; None: the file doesn't say."""

    cell: str | None
    bidirectional: bool | None
    batch_first: bool | None
    layers: int | None
    hidden_size: int | None


@dataclass(frozen=True)
class Layers:
    """A module that works column by column, by the effects of its layers on padding."""

    effects: tuple[str, ...]


@dataclass(frozen=True)
class Inputs:
    """A tensor that a network may read."""

    single_axes: frozenset[int] = frozenset()  # Their length is 1; -1 is the last one.
    flipped_axis: int | None = None
    ends_with_row: bool = False  # It is cut at its row's own length.
    may_lack_rows: bool = False  # It may be one row, without an axis of rows, as inputs[0].


@dataclass(frozen=True)
class States:
    """What a network returned, or what was made of it.

    Its kind is `output`, `h_n`, `c_n`, `final` (both), `by_layer` (`h_n` as (L, D, B, H)),
    `returned` (output and final), `unpacked` (output and lengths), `last_step` (of output), or
    `running_sum` or `running_mean` (of output, from the first column to each).
    """

    kind: str
    network: Network
    axes: str = ""  # BTH for an output that is batch first; empty: the file doesn't say.
    padding: str = field(default=NOT_SAID, compare=False)
    may_lack_rows: bool = field(default=False, compare=False)
    column: ast.AST | None = field(default=None, compare=False)  # It reads the last step.


@dataclass(frozen=True)
class FinalState:
    """One entry of `h_n` or `c_n`, by its index."""

    network: Network
    index: int

    @property
    def layer_and_direction(self) -> tuple[int, int]:
        """Counted from the last layer for a negative index of a network whose layers are unknown:
        the last one is -1."""
        index = self.index
        if self.network.layers is not None:
            index %= 2 * self.network.layers
        return divmod(index, 2)


Value = Network | Layers | Inputs | States | FinalState | None


def network_made_by(node: ast.AST, source: Source) -> Network | None:
    """The network, or cell of one, that an expression makes."""
    if not isinstance(node, ast.Call):
        return None
    name = last_name(node.func)
    place = ast.unparse(node.func).rpartition(".")[0] or name
    is_of_torch = place in {"torch.nn", *source.names_of_torch.values()}
    if name.removesuffix("Cell") not in CELLS or not is_of_torch:
        return None
    order = OPTION_POSITIONS["RNN" if name == "RNN" else "LSTM"]
    written: dict[str | None, ast.expr] = dict(zip(order, node.args, strict=False))
    written |= {keyword.arg: keyword.value for keyword in node.keywords}
    options = {option: source.constant(value) for option, value in written.items()}
    has_more = None in options or any(isinstance(word, ast.Starred) for word in node.args)
    default = None if has_more else False
    layers, hidden_size = options.get("num_layers", 1), options.get("hidden_size")
    if layers == 1 and isinstance(written.get("num_layers"), ast.Name | ast.Attribute):
        layers = None  # one by default, and more for whoever asks
    return Network(
        name,
        options.get("bidirectional", default),
        options.get("batch_first", default),
        layers if isinstance(layers, int) else None,
        hidden_size if isinstance(hidden_size, int) else None,
    )


def module_made_by(node: ast.AST | None, source: Source) -> Network | Layers | None:
    """The network or column-wise module that an expression makes."""
    node = without_same(node)
    if not isinstance(node, ast.Call):
        return None
    name = last_name(node.func)
    if name == "Sequential" and node.args:
        layers = [module_made_by(layer, source) for layer in node.args]
        effects = [layer.effects for layer in layers if isinstance(layer, Layers)]
        return Layers(sum(effects, ())) if len(effects) == len(layers) else None
    if name == "Linear" and _has_no_bias(node, source):
        return Layers((ODD,))
    if name in EFFECTS:
        return Layers((EFFECTS[name],))
    return network_made_by(node, source) if name in CELLS else None


def _has_no_bias(linear: ast.Call, source: Source) -> bool:
    biases = [keyword.value for keyword in linear.keywords if keyword.arg == "bias"]
    return any(source.constant(bias) is False for bias in [*linear.args[2:3], *biases])


def known_module(name: str, node: ast.AST, source: Source) -> Network | Layers | None:
    """The network or module that this name stands for, by all that the file sets it to."""
    values = source.scopes[node].find(name).values.get(name, ())
    modules_or_none = [module_made_by(value, source) for value in values]
    modules = [module for module in modules_or_none if module is not None]
    if not modules or ("." not in name and len(modules) < len(modules_or_none)):
        return None
    networks = [module for module in modules if isinstance(module, Network)]
    if not networks:
        return modules[-1]
    if not isinstance(modules[-1], Network):
        return None
    # A condition may choose between them: what holds of each holds.
    return Network(
        *(
            options[0] if len({*options}) == 1 else None
            for options in zip(*(vars(network).values() for network in networks), strict=True)
        )
    )


def item(value: Value, number: int) -> Value:
    """What stands there in a tuple."""
    if not isinstance(value, States):
        return None
    if value.kind == "by_layer":
        return replace(value, kind="h_n", network=replace(value.network, layers=1))
    if value.kind in ("h_n", "c_n"):
        return FinalState(value.network, number)
    final_kinds = {"LSTM": ["final"], None: []}.get(value.network.cell, ["h_n"])
    kinds_by_tuple = {
        "returned": ["output", *final_kinds],
        "final": ["h_n", "c_n"],
        "unpacked": ["output"],
    }
    kinds = kinds_by_tuple.get(value.kind, [])
    if not -len(kinds) <= number < len(kinds):
        return None
    kind = kinds[number]
    return replace(value, kind=kind, axes="" if kind in ("h_n", "c_n") else value.axes)


def returned_by(network: Network, inputs: Value, carries_state: bool) -> Value:
    """What a call of a network returns; None for one step, whose first column is its last."""
    axes = AXES.get(network.batch_first, "")
    padding = NO_PADDING if carries_state else NOT_SAID
    may_lack_rows = isinstance(inputs, Inputs) and inputs.may_lack_rows
    if isinstance(inputs, Inputs) and axes:
        single_axes = {axis % 3 for axis in inputs.single_axes}
        if axes.index("T") in single_axes:
            return None
        if axes.index("B") in single_axes or inputs.ends_with_row:
            padding = NO_PADDING
    return States("returned", network, axes, padding, may_lack_rows)


def after(effects: Sequence[str], value: Value) -> Value:
    """What column-wise layers make of a value."""
    is_mixed = isinstance(value, FinalState) or (
        isinstance(value, States) and value.kind == "last_step"
    )
    if is_mixed and CHANGES in effects:
        return None  # Its directions can't be told apart.
    for effect in effects:
        if isinstance(value, Inputs) and effect == EMBEDS:
            # Tokens (B, T) have no last axis.
            single_axes = frozenset(axis % 2 for axis in value.single_axes)
            value = replace(value, single_axes=single_axes)
        elif isinstance(value, States):
            value = replace(value, padding=_padding_after(effect, value.padding))
    return value


def _padding_after(effect: str, padding: str) -> str:
    if padding in (NO_PADDING, NOT_SAID, UNKNOWN, COUNTS) or effect == KEEPS:
        return padding
    if effect == FLOORS:
        return LEAST
    if effect == ODD:
        return COUNTS if padding == LOWEST else ZEROS
    return COUNTS


def reordered(value: Value, order: Sequence[int]) -> Value:
    """With the axes in this order, of three."""
    if isinstance(value, States) and len(value.axes) == 3:
        return replace(value, axes="".join(value.axes[axis] for axis in order))
    if isinstance(value, Inputs):
        single_axes = frozenset(order.index(axis % 3) for axis in value.single_axes)
        flipped = value.flipped_axis
        flipped_axis = None if flipped is None else order.index(flipped % 3)
        return replace(value, single_axes=single_axes, flipped_axis=flipped_axis)
    return None


def cut(value: Value, index: ast.expr, source: Source, counters: set[str]) -> Value:
    """What an index takes of the inputs of a network, if it says how long they are then.

    Args:
        counters: the names of numbers, so that an index of one takes one entry.
    """
    indices = index.elts if isinstance(index, ast.Tuple) else [index]
    single_axes, axis = set[int](), 0
    ends_with_row = isinstance(value, Inputs) and value.ends_with_row
    for entry in indices:
        if isinstance(entry, ast.Constant) and entry.value is Ellipsis:
            break
        if _is_single(entry, source):
            single_axes.add(axis)
        if isinstance(entry, ast.Slice):
            ends_with_row |= _ends_with_row(entry)
        if _is_new_axis(entry) or isinstance(entry, ast.Slice | ast.List):
            axis += 1  # Any other index takes one entry, and its axis is gone.
    may_lack_rows = not single_axes and _takes_one_row(indices, source, counters)
    if not single_axes and not ends_with_row and not may_lack_rows:
        return None
    return Inputs(frozenset(single_axes), None, ends_with_row, may_lack_rows)


def _is_new_axis(entry: ast.expr) -> bool:
    return isinstance(entry, ast.Constant) and entry.value is None


def _takes_one_row(indices: list[ast.expr], source: Source, counters: set[str]) -> bool:
    """Whether the first index alone is a number."""
    are_numbers = [
        isinstance(source.constant(entry), int) or ast.unparse(entry) in counters
        for entry in indices
    ]
    return are_numbers[:1] == [True] and not any(are_numbers[1:])


def _is_single(entry: ast.expr, source: Source) -> bool:
    """Whether an index gives an axis of length 1: `None`, `[t]`, `-1:`, `:1` or `t : t + 1`."""
    if isinstance(entry, ast.List):
        return len(entry.elts) == 1
    return _is_new_axis(entry) or _is_one_step(entry, source)


def _is_one_step(entry: ast.expr, source: Source) -> bool:
    if not isinstance(entry, ast.Slice) or entry.step is not None:
        return False
    lower = "0" if entry.lower is None else ast.unparse(entry.lower)
    if entry.upper is None:
        return lower == "-1"
    upper = ast.unparse(entry.upper)
    ends = [source.constant(end) for end in (entry.lower or ast.Constant(0), entry.upper)]
    if all(isinstance(end, int) for end in ends):
        return ends[1] - ends[0] == 1
    return upper in (f"{lower} + 1", f"1 + {lower}") or lower == f"{upper} - 1"


def _ends_with_row(entry: ast.Slice) -> bool:
    """`: lengths[i]`, `: length`, but not `: max(lengths)`."""
    upper: ast.expr | None = entry.upper
    if isinstance(upper, ast.Call) and last_name(upper.func) in ("int", "item"):
        upper = upper.args[0] if upper.args else getattr(upper.func, "value", None)
    if isinstance(upper, ast.Subscript):
        return LENGTHS.fullmatch(last_name(upper.value)) is not None
    return isinstance(upper, ast.Name) and upper.id == "length"
