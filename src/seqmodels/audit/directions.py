"""Check that a model reads each recurrent network in it: its directions at their ends, its cells at
their last steps; and that a gradient of the logits reaches it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.hooks import RemovableHandle

from seqmodels.audit.isolation import changed, training
from seqmodels.audit.probe import Node, Probe, nodes_of
from seqmodels.nn.cell import Recurrent, parts_of, state_of

POSITIONS = ("start", "middle", "end")
# So often random weights are drawn before something counts as unread.
MOST_DRAWS = 24
# A gradient may be 0 because a unit is dead or saturated: then other weights are drawn.
MOST_DRAWS_OF_GRADIENTS = 4
# A recurrence has at least so many.
FEWEST_STEPS = 3

Networks = dict[nn.Module, str]  # by each network, what a message calls it


class StatesRead:
    """Which states in the last layer of a recurrent network reach the logits.

    A direction has three positions: its `start`, where it has seen only one step; its `end`, where
    it has seen all steps, with `h_n` and `c_n`; and the `middle`.
    """

    def __init__(self, name: str, rnn: Recurrent) -> None:
        self.name, self.rnn = name, rnn
        self.directions = ("forward", "backward") if rnn.bidirectional else ("forward",)
        self.read: set[tuple[str, str]] = set()  # (direction, position), if it reaches a logit
        self.called = False  # whether the model ran the network on rows with a middle

    def __str__(self) -> str:
        return label_of(self.name, self.rnn)

    def unread(self) -> list[str]:
        """Evidence for each direction that reaches no logit."""
        return [
            f"{self}: no change of the last layer's {direction} states moves a logit"
            for direction in self.directions
            if direction not in {read for read, _ in self.read}
        ]

    def truncated(self) -> list[str]:
        """Evidence for each direction that is read at its start but not in its middle. The only
        direction of a network may be read at its end instead.

        A pooling reads the middle as well, so this is a wrong index.
        """
        return [
            f"{self}: {direction} is read at step {start}, where it has seen only one step, and at "
            "no step between there and its end"
            for direction, start in (("forward", "0"), ("backward", "length - 1"))
            if (direction, "start") in self.read
            and (direction, "middle") not in self.read
            and (self.rnn.bidirectional or ("forward", "end") not in self.read)
            and direction in self.directions
        ]


def label_of(path: str, network: nn.Module) -> str:
    """What a message calls a network, such as `LSTM 'encoder.rnn'`."""
    class_name = type(network).__name__
    return f"{class_name} {path!r}" if path else class_name


def states_read(probe: Probe) -> list[StatesRead]:
    """Adds noise to each position of each direction in turn, and checks whether any logit changes.

    Tries again with random weights where nothing changes: a unit may be saturated, or a maximum may
    lie at another step.
    """
    found = {
        id(part): StatesRead(name, part)
        for module in probe.modules
        for name, part in module.named_modules()
        if isinstance(part, Recurrent)
    }
    for network in found.values():
        for draw in range(1 + MOST_DRAWS):
            with probe.random_weights() if draw else nullcontext():
                _read(probe, network)
            if not network.called or not (network.unread() or network.truncated()):
                break
    return [network for network in found.values() if network.called]


def _read(probe: Probe, network: StatesRead) -> None:
    inputs = probe.sampler.batch(probe.full)
    before = probe.rows(inputs, probe.full)
    for direction, position, size in product(network.directions, POSITIONS, (1.0, 10.0)):
        if (direction, position) not in network.read:
            with _with_noise(network, direction, position, size):
                after = probe.rows(inputs, probe.full)
            if not all(map(torch.equal, before, after)):
                network.read.add((direction, position))


def _with_noise(network: StatesRead, direction: str, position: str, size: float) -> RemovableHandle:
    """A hook: noise at one position of the last layer's `output`, `h_n` and `c_n`."""
    count, number = len(network.directions), network.directions.index(direction)
    generator = torch.Generator().manual_seed(0)

    def noise(tensor: Tensor) -> Tensor:
        return size * torch.randn(tensor.shape, generator=generator).to(tensor)

    def change(output: Any, parts: list[Tensor]) -> Any:
        data = output.data if isinstance(output, PackedSequence) else output
        seen, length = _steps_seen(network.rnn, output, direction)
        where = {"start": seen == 0, "middle": (seen > 0) & (seen < length - 1)}
        here = where.get(position, seen == length - 1) & (length > 2)  # Fewer have no middle.
        network.called |= bool((length > 2).any())
        half = torch.arange(data.shape[-1]) // (data.shape[-1] // count) == number
        data = data + noise(data) * (here.unsqueeze(-1) & half).to(data)
        for part in parts if position == "end" else ():  # (L*D, B, H)
            part[number - count] += noise(part[number - count])
        return output._replace(data=data) if isinstance(output, PackedSequence) else data

    return hook(network.rnn, change)


def hook(rnn: Recurrent, change: Callable[[Any, list[Tensor]], Any]) -> RemovableHandle:
    """Makes a network return the output that `change` gives of its output and final states,
    `(L*D, B, H)` each, which it may change in place."""

    def changed(module: Recurrent, arguments: Any, result: tuple[Any, Any]) -> tuple[Any, Any]:
        parts = [part.clone() for part in parts_of(result[1])]
        return change(result[0], parts), state_of(*parts)

    return rnn.register_forward_hook(changed)


def _steps_seen(
    rnn: Recurrent, output: Tensor | PackedSequence, direction: str
) -> tuple[Tensor, Tensor]:
    """How many steps the direction has seen before each step of `output`, and the row's length;
    both broadcast against `output` without its last dimension."""
    if isinstance(output, PackedSequence):
        counts = output.batch_sizes
        step = torch.arange(len(counts)).repeat_interleave(counts)
        row = torch.cat([torch.arange(int(count)) for count in counts])
        length = (counts.unsqueeze(1) > torch.arange(int(counts[0]))).sum(dim=0)[row]
    else:
        axis = 1 if output.dim() == 3 and rnn.batch_first else 0
        shape = [1] * (output.dim() - 1)
        shape[axis] = -1
        step = torch.arange(output.shape[axis]).view(shape)
        length = torch.tensor(output.shape[axis])
    return (step if direction == "forward" else length - 1 - step), length


# networks that a model unrolls by itself


def unrolled(probe: Probe, looked_into: list[StatesRead]) -> dict[str, set[int]]:
    """The steps, counted from 1, from which a gradient comes, of each module with weights that are
    applied to what they gave before, as by `nn.LSTMCell` in a loop; by its name."""
    known = {id(weight) for network in looked_into for weight in network.rnn.parameters()}
    names = {
        id(weight): name.rpartition(".")[0] or name
        for module in probe.modules
        for name, weight in module.named_parameters()
    }
    weights = [w for w in probe.parameters if w.requires_grad and id(w) not in known]
    steps_read: dict[str, set[int]] = {}
    for draw in range(MOST_DRAWS):
        with probe.random_weights() if draw else ExitStack():
            for weight, steps in _steps_with_gradient(probe, weights).items():
                steps_read.setdefault(names.get(weight, ""), set()).update(steps)
        if all(max(steps, default=0) > 1 for steps in steps_read.values()):
            break
    return steps_read


def truncated_cells(steps_read: dict[str, set[int]]) -> list[str]:
    """Evidence for each module of `unrolled` that is read at its first step alone."""
    where = "is read at its first step, where it has seen only one step, alone"
    return [f"{name!r} {where}" for name, steps in steps_read.items() if steps == {1}]


def unread_cells(steps_read: dict[str, set[int]]) -> list[str]:
    """Evidence for each module of `unrolled` that is not read."""
    none = "no gradient of a logit reaches any of its steps"
    return [f"{name!r}: {none}" for name, steps in steps_read.items() if not steps]


def _steps_with_gradient(probe: Probe, weights: list[Tensor]) -> dict[int, set[int]]:
    """By the id of each recurrent weight."""
    logits, _ = probe.call(probe.sampler.batch(probe.full), probe.full)
    nodes = nodes_of(logits)
    steps_read: dict[int, set[int]] = {}
    with ExitStack() as hooks:
        for weight, uses in _uses(nodes, weights).items():
            if len(uses) < FEWEST_STEPS:
                continue
            steps = _steps_of(nodes, uses)
            if max(steps.values(), default=0) < FEWEST_STEPS:
                continue
            steps_of_weight = steps_read.setdefault(weight, set())
            for node in uses:
                note = partial(_note, steps_of_weight, steps[node])
                hooks.callback(node.register_prehook(note).remove)
        if steps_read:
            factors = torch.randn(logits.shape, generator=probe.sampler.generator).to(logits)
            torch.autograd.grad(logits, weights, factors, allow_unused=True)
    return steps_read


def _uses(nodes: list[Node], weights: list[Tensor]) -> dict[int, set[Node]]:
    """What is computed with each weight, which may be transposed or cut, by the weight's id."""
    uses: dict[int, set[Node]] = {id(weight): set() for weight in weights}
    leads_to: dict[Node, int] = {}  # a weight, by its id
    for node in nodes:
        nodes_before = [before for before, _ in node.next_functions if before]
        if hasattr(node, "variable"):
            leads_to[node] = id(node.variable)
        elif len(node.next_functions) == 1 and nodes_before:
            leads_to[node] = leads_to.get(nodes_before[0], 0)
        else:
            for before in nodes_before:
                uses.get(leads_to.get(before, 0), set()).add(node)
    return uses


def _steps_of(nodes: list[Node], uses: set[Node]) -> dict[Node, int]:
    """How many uses there are up to each node; no recurrence has few of them, whatever their
    order."""
    steps: dict[Node, int] = {}
    for node in nodes:
        steps_before = [steps[before] for before, _ in node.next_functions if before]
        steps[node] = max(steps_before, default=0) + (node in uses)
    return steps


def _note(steps: set[int], step: int, gradients: tuple[Tensor | None, ...]) -> None:
    if any(gradient is not None and bool(gradient.any()) for gradient in gradients):
        steps.add(step)


# gradients


def lost_gradient(probe: Probe) -> str:
    """A network moves the logits, but no gradient of them reaches its weights, as after `detach()`:
    a training leaves it as it is.

    Notes as untested the networks that are frozen, or run without gradients on purpose.
    """
    networks = _trainable_networks(probe)
    logits, without_gradients = _run_networks(probe, networks)
    for network in without_gradients:
        name = networks.pop(network)
        probe.untested.append(f"lost_gradient: {name} runs without gradients (torch.no_grad)")
    if networks and not logits.requires_grad:
        # The model may copy its logits out of the graph, for example to NumPy.
        probe.untested.append("lost_gradient: these logits have no gradient")
        return ""
    lost = _not_reached_networks(probe, networks)
    if lost:
        # A model may cut its gradients in evaluation mode alone.
        with probe.trying("lost_gradient, in training mode"), training(probe.modules):
            lost = _not_reached_networks(probe, lost)
    return "; ".join(
        f"other weights of {name} move the logits, but no gradient of a logit reaches them"
        for network, name in lost.items()
        if _moves_the_logits(probe, network)
    )


def _trainable_networks(probe: Probe) -> Networks:
    networks: Networks = {}
    seen: set[nn.Module] = set()  # also the cells of a network
    for root in probe.modules:
        for path, part in root.named_modules():
            if part in seen or not isinstance(part, Recurrent | nn.RNNCellBase):
                continue
            seen.update(part.modules())
            name = label_of(path, part)
            if any(weight.requires_grad for weight in part.parameters()):
                networks[part] = name
            else:
                probe.untested.append(f"lost_gradient: {name} is frozen (requires_grad=False)")
    return networks


def _run_networks(probe: Probe, networks: Networks) -> tuple[Tensor, list[nn.Module]]:
    """The logits, and the networks that ran without gradients."""
    without_gradients: dict[nn.Module, None] = {}

    def note(network: nn.Module, inputs: Any) -> None:
        if not torch.is_grad_enabled():
            without_gradients[network] = None

    with ExitStack() as hooks:
        for network in networks:
            hooks.enter_context(network.register_forward_pre_hook(note))
        logits, _ = probe.call(probe.sampler.batch(probe.full), probe.full)
    return logits, [*without_gradients]


def _not_reached_networks(probe: Probe, networks: Networks) -> Networks:
    """The networks that no gradient of the logits reaches, whatever the weights are."""
    left = dict(networks)
    for draw in range(MOST_DRAWS_OF_GRADIENTS):
        if not left:
            break
        with probe.random_weights() if draw else nullcontext():
            logits, _ = probe.call(probe.sampler.batch(probe.full), probe.full)
            for network in _reached_networks(probe, logits, left):
                del left[network]
    return left


def _reached_networks(probe: Probe, logits: Tensor, networks: Networks) -> list[nn.Module]:
    if not logits.requires_grad:
        return []
    weights_of = {
        network: [weight for weight in network.parameters() if weight.requires_grad]
        for network in networks
    }
    weights = [weight for of_network in weights_of.values() for weight in of_network]
    # The sum of the logits may not depend on what each of them depends on: take random factors.
    factors = torch.randn(logits.shape, generator=probe.sampler.generator).to(logits)
    gradients = torch.autograd.grad(logits, weights, factors, allow_unused=True)
    reached_weights = {
        weight
        for weight, gradient in zip(weights, gradients, strict=True)
        if gradient is not None and bool(gradient.any())
    }
    return [
        network for network, of_network in weights_of.items() if reached_weights & {*of_network}
    ]


def _moves_the_logits(probe: Probe, network: nn.Module) -> bool:
    inputs = probe.sampler.batch(probe.full)
    before = probe.rows(inputs, probe.full)

    def with_noise(weights: Tensor) -> Tensor:
        return weights + torch.randn(weights.shape, generator=probe.sampler.generator).to(weights)

    with changed(network.parameters(), with_noise):
        after = probe.rows(inputs, probe.full)
    return not all(map(torch.equal, before, after))
