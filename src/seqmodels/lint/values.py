"""What an expression holds: a network, what it reads or returned, and on which axis columns are."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from seqmodels.lint.source import (
    Source,
    entries_of,
    is_name_of_lengths,
    keywords_of,
    last_name,
    without_unchanging_calls,
)

CELLS = ("LSTM", "GRU", "RNN")
LAST_OPTIONS = ("bias", "batch_first", "dropout", "bidirectional")
# Where each class takes an option that may also be given by its name.
OPTION_POSITIONS = {
    "LSTM": ("input_size", "hidden_size", "num_layers", *LAST_OPTIONS),
    "RNN": ("input_size", "hidden_size", "num_layers", "nonlinearity", *LAST_OPTIONS),
}
# The axes of an output, by `batch_first`.
AXES: dict[Any, str] = {True: "BTH", False: "TBH"}

# What stands in an output behind the end of a row.
ZEROS = "zeros"
LEAST = "least"  # No value is below it.
LOWEST = "lowest"  # All values are above it, as above -inf.
COUNTS = "counts"  # It changes a mean, a sum, a maximum and a softmax.
UNKNOWN = "unknown"  # The file doesn't show its value.
NO_PADDING = "none"  # All rows are of one length.
NOT_SAID = ""

# What a layer or function that works column by column does to a column of padding.
KEEPS = "keeps"
FLOORS = "floors"  # Nothing is below 0 afterwards.
ODD = "odd"  # Zeros stay zeros.
CHANGES = "changes"
EMBEDS = "embeds"  # Tokens (B, T) become columns (B, T, F).
EFFECTS = {
    "Dropout": KEEPS,
    "Identity": KEEPS,
    "ReLU": FLOORS,
    "ELU": ODD,
    "GELU": ODD,
    "LeakyReLU": ODD,
    "SiLU": ODD,
    "Tanh": ODD,
    "LayerNorm": CHANGES,
    "Linear": CHANGES,
    "Sigmoid": CHANGES,
    "Embedding": EMBEDS,
}
EFFECTS_OF_FUNCTIONS = {
    "dropout": KEEPS,
    "relu": FLOORS,
    "elu": ODD,
    "gelu": ODD,
    "leaky_relu": ODD,
    "tanh": ODD,
    "sigmoid": CHANGES,
}


@dataclass(frozen=True)
class Network:
    """An `nn.LSTM`, `nn.GRU` or `nn.RNN`; an option is None where the file doesn't say it."""

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
    ends_with_row: bool = False  # It is cut at the length of its row.
    may_lack_rows: bool = False  # It may be one row, without an axis of rows, as inputs[0].


@dataclass(frozen=True)
class States:
    """What a network returned, or what was made of it.

    Its content is `output`, `h_n`, `c_n`, `final` (both), `by_layer` (`h_n` as (L, D, B, H)),
    `returned` (output and final), `unpacked` (output and lengths), `last_step` (of output), or
    `running_sum` or `running_mean` (of output, from the first column to each).
    """

    content: str
    network: Network
    axes: str = ""  # BTH for an output that is batch first; empty: the file doesn't say.
    padding: str = field(default=NOT_SAID, compare=False)
    may_lack_rows: bool = field(default=False, compare=False)
    # The expression that read the last step.
    column: ast.AST | None = field(default=None, compare=False)


@dataclass(frozen=True)
class FinalState:
    """One entry of `h_n` or `c_n`, by its index."""

    network: Network
    index: int

    @property
    def layer_and_direction(self) -> tuple[int, int]:
        """The numbers of its layer and its direction.

        Where the number of layers is unknown, a negative index counts from the end: the last layer
        is -1.
        """
        index = self.index
        if self.network.layers is not None:
            index %= 2 * self.network.layers
        return divmod(index, 2)


Value = Network | Layers | Inputs | States | FinalState | None


# Networks and layers.


def network_made_by(node: ast.AST, source: Source) -> Network | None:
    """The network, or cell of one, that an expression makes."""
    if not isinstance(node, ast.Call):
        return None
    cell = last_name(node.func)
    if cell.removesuffix("Cell") not in CELLS:
        return None
    module = ast.unparse(node.func).rpartition(".")[0]
    is_of_torch = (module or cell) in {"torch.nn", *source.names_of_torch.values()}
    if not is_of_torch:
        return None

    positions = OPTION_POSITIONS["RNN" if cell == "RNN" else "LSTM"]
    arguments: dict[str | None, ast.expr] = dict(zip(positions, node.args, strict=False))
    arguments |= keywords_of(node)
    options = {name: source.constant(argument) for name, argument in arguments.items()}

    # What `*sizes` and `**options` hold is not known, and so no option is what it is by default.
    has_starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    default = None if has_starred or None in options else False
    layers = options.get("num_layers", 1)
    if layers == 1 and isinstance(arguments.get("num_layers"), ast.Name | ast.Attribute):
        layers = None  # The name is 1 by default, and somebody may ask for more.
    hidden_size = options.get("hidden_size")
    return Network(
        cell=cell,
        bidirectional=options.get("bidirectional", default),
        batch_first=options.get("batch_first", default),
        layers=layers if isinstance(layers, int) else None,
        hidden_size=hidden_size if isinstance(hidden_size, int) else None,
    )


def module_made_by(node: ast.AST | None, source: Source) -> Network | Layers | None:
    """The network or column-wise module that an expression makes."""
    call = without_unchanging_calls(node)
    if not isinstance(call, ast.Call):
        return None
    name = last_name(call.func)
    if name == "Sequential" and call.args:
        return _sequential(call.args, source)
    if name == "Linear" and _has_no_bias(call, source):
        return Layers((ODD,))
    if name in EFFECTS:
        return Layers((EFFECTS[name],))
    if name in CELLS:
        return network_made_by(call, source)
    return None


def _sequential(nodes: Sequence[ast.expr], source: Source) -> Layers | None:
    """Layers one after the other; None if one of them doesn't work column by column."""
    effects: list[str] = []
    for node in nodes:
        layer = module_made_by(node, source)
        if not isinstance(layer, Layers):
            return None
        effects += layer.effects
    return Layers(tuple(effects))


def _has_no_bias(linear: ast.Call, source: Source) -> bool:
    """`nn.Linear(8, 2, bias=False)`: it is the third argument."""
    biases = linear.args[2:3]
    biases += [keyword.value for keyword in linear.keywords if keyword.arg == "bias"]
    return any(source.constant(bias) is False for bias in biases)


def module_of_name(name: str, node: ast.AST, source: Source) -> Network | Layers | None:
    """The network or module that a name stands for, by all that the file sets it to.

    A name without a dot may also be an argument or a tensor: then it is none. An attribute is a
    module all the same, since it is often None at first.
    """
    values = source.scopes[node].values_of(name)
    modules = []
    for value in values:
        module = module_made_by(value, source)
        if module is not None:
            modules.append(module)
    has_other_values = len(modules) < len(values)
    is_attribute = "." in name
    if not modules or (has_other_values and not is_attribute):
        return None

    networks = [module for module in modules if isinstance(module, Network)]
    last_module = modules[-1]
    if not networks:
        return last_module
    if not isinstance(last_module, Network):
        return None
    return _what_holds_of_all(networks)


def _what_holds_of_all(networks: Sequence[Network]) -> Network:
    """A network with the options that all of these share: a condition may choose between them."""
    shared_options: dict[str, Any] = {}
    for option in fields(Network):
        choices = [getattr(network, option.name) for network in networks]
        is_shared = len(set(choices)) == 1
        shared_options[option.name] = choices[0] if is_shared else None
    return Network(**shared_options)


# What a network returns.


def returned_by(network: Network, inputs: Value, carries_state: bool) -> Value:
    """What a call of a network returns; None for one step, whose first column is its last."""
    axes = AXES.get(network.batch_first, "")
    may_lack_rows = isinstance(inputs, Inputs) and inputs.may_lack_rows
    is_of_one_length = carries_state
    if isinstance(inputs, Inputs) and axes:
        single_axes = {axis % 3 for axis in inputs.single_axes}
        if axes.index("T") in single_axes:
            return None
        if axes.index("B") in single_axes or inputs.ends_with_row:
            is_of_one_length = True
    padding = NO_PADDING if is_of_one_length else NOT_SAID
    return States("returned", network, axes, padding, may_lack_rows)


def entry(value: Value, index: int) -> Value:
    """What stands at an index of a tuple, or of final states."""
    if not isinstance(value, States):
        return None
    if value.content == "by_layer":
        # An index takes a layer, of which the states of each direction are left.
        return replace(value, content="h_n", network=replace(value.network, layers=1))
    if value.content in ("h_n", "c_n"):
        return FinalState(value.network, index)
    contents = _contents_of_tuple(value.content, value.network)
    if not -len(contents) <= index < len(contents):
        return None
    content = contents[index]
    axes = "" if content in ("h_n", "c_n") else value.axes
    return replace(value, content=content, axes=axes)


def _contents_of_tuple(content: str, network: Network) -> list[str]:
    """The contents of the entries of a tuple, as far as the file says them; else none."""
    if content == "final":
        return ["h_n", "c_n"]
    if content == "unpacked":
        return ["output"]
    if content != "returned":
        return []
    if network.cell is None:  # Is there a c_n, too?
        return ["output"]
    if network.cell == "LSTM":
        return ["output", "final"]
    return ["output", "h_n"]


def after(effects: Sequence[str], value: Value) -> Value:
    """What column-wise layers make of a value."""
    is_one_vector = isinstance(value, FinalState) or (
        isinstance(value, States) and value.content == "last_step"
    )
    if is_one_vector and CHANGES in effects:
        return None  # Its directions can't be told apart.
    for effect in effects:
        if isinstance(value, Inputs) and effect == EMBEDS:
            # Tokens (B, T) have no last axis: -1 is their axis 1.
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
    if effect == ODD and padding != LOWEST:
        return ZEROS
    return COUNTS


def reordered(value: Value, order: Sequence[int]) -> Value:
    """The value with its three axes in this order."""
    if isinstance(value, States) and len(value.axes) == 3:
        axes = [value.axes[axis] for axis in order]
        return replace(value, axes="".join(axes))
    if isinstance(value, Inputs):
        single_axes = frozenset(order.index(axis % 3) for axis in value.single_axes)
        flipped_axis = value.flipped_axis
        if flipped_axis is not None:
            flipped_axis = order.index(flipped_axis % 3)
        return replace(value, single_axes=single_axes, flipped_axis=flipped_axis)
    return None


# What an index takes of the inputs of a network.


def cut(value: Value, index: ast.expr, source: Source, counters: set[str]) -> Value:
    """What an index takes of the inputs of a network; None if it doesn't tell of their length.

    Args:
        counters: the names of numbers, so that an index of one takes one entry.
    """
    entries = entries_of(index)
    ends_with_row = isinstance(value, Inputs) and value.ends_with_row
    single_axes: set[int] = set()
    axis = 0  # Axes are those of the result.
    for entry in entries:
        if isinstance(entry, ast.Constant) and entry.value is Ellipsis:
            break
        if _is_single(entry, source):
            single_axes.add(axis)
        if isinstance(entry, ast.Slice) and _ends_with_row(entry):
            ends_with_row = True
        # Another index takes one entry, and its axis is gone.
        if _is_new_axis(entry) or isinstance(entry, ast.Slice | ast.List):
            axis += 1
    may_lack_rows = not single_axes and _takes_one_row(entries, source, counters)
    if single_axes or ends_with_row or may_lack_rows:
        return Inputs(frozenset(single_axes), None, ends_with_row, may_lack_rows)
    return None


def _is_new_axis(entry: ast.expr) -> bool:
    return isinstance(entry, ast.Constant) and entry.value is None


def _takes_one_row(entries: list[ast.expr], source: Source, counters: set[str]) -> bool:
    """Whether the first index alone is a number."""
    are_numbers = []
    for entry in entries:
        is_counter = ast.unparse(entry) in counters
        are_numbers.append(is_counter or isinstance(source.constant(entry), int))
    return are_numbers[:1] == [True] and not any(are_numbers[1:])


def _is_single(entry: ast.expr, source: Source) -> bool:
    """Whether an index gives an axis of length 1: `None`, `[t]`, `-1:`, `:1` or `t : t + 1`."""
    if isinstance(entry, ast.List):
        return len(entry.elts) == 1
    return _is_new_axis(entry) or _is_one_step(entry, source)


def _is_one_step(entry: ast.expr, source: Source) -> bool:
    if not isinstance(entry, ast.Slice) or entry.step is not None:
        return False
    lower = entry.lower or ast.Constant(0)
    lower_text = ast.unparse(lower)
    if entry.upper is None:
        return lower_text == "-1"
    start = source.constant(lower)
    end = source.constant(entry.upper)
    if isinstance(start, int) and isinstance(end, int):
        return end - start == 1
    upper_text = ast.unparse(entry.upper)
    if upper_text in (f"{lower_text} + 1", f"1 + {lower_text}"):
        return True
    return lower_text == f"{upper_text} - 1"


def _ends_with_row(entry: ast.Slice) -> bool:
    """`: lengths[i]`, `: length`, but not `: max(lengths)`."""
    upper: ast.expr | None = entry.upper
    if isinstance(upper, ast.Call) and last_name(upper.func) in ("int", "item"):
        # int(lengths[i]) or lengths[i].item()
        upper = upper.args[0] if upper.args else getattr(upper.func, "value", None)
    if isinstance(upper, ast.Subscript):
        return is_name_of_lengths(last_name(upper.value))
    return isinstance(upper, ast.Name) and upper.id == "length"
