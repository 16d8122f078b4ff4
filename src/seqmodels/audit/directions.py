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

# What a message calls each network.
Networks = dict[nn.Module, str]


class StatesRead:
    """Which states in the last layer of a recurrent network reach the logits.

    A direction has three positions: its `start`, where it has seen only one step; its `end`, where
    it has seen all steps, with `h_n` and `c_n`; and the `middle`.
    """

    def __init__(self, name: str, rnn: Recurrent) -> None:
        self.name = name
        self.rnn = rnn
        self.directions = ["forward", "backward"] if rnn.bidirectional else ["forward"]
        # The pairs of direction and position that reach a logit.
        self.read: set[tuple[str, str]] = set()
        # Whether the model ran the network on rows with a middle.
        self.called = False

    def __str__(self) -> str:
        return label_of(self.name, self.rnn)

    def unread(self) -> list[str]:
        """Evidence for each direction that reaches no logit."""
        read_directions = {direction for direction, _ in self.read}
        return [
            f"{self}: no change of the last layer's {direction} states moves a logit"
            for direction in self.directions
            if direction not in read_directions
        ]

    def truncated(self) -> list[str]:
        """Evidence for each direction that is read at its start but not in its middle. The only
        direction of a network may be read at its end instead.

        A pooling reads the middle as well, so this is a wrong index.
        """
        start_of_direction = {"forward": "0", "backward": "length - 1"}
        return [
            f"{self}: {direction} is read at step {start_of_direction[direction]}, where it has "
            "seen only one step, and at no step between there and its end"
            for direction in self.directions
            if self._is_truncated(direction)
        ]

    def _is_truncated(self, direction: str) -> bool:
        is_read_at_start = (direction, "start") in self.read
        is_read_in_middle = (direction, "middle") in self.read
        is_only_direction = len(self.directions) == 1
        if is_only_direction and (direction, "end") in self.read:
            return False
        return is_read_at_start and not is_read_in_middle


def label_of(path: str, network: nn.Module) -> str:
    """What a message calls a network, such as `LSTM 'encoder.rnn'`."""
    class_name = type(network).__name__
    return f"{class_name} {path!r}" if path else class_name


def states_read(probe: Probe) -> list[StatesRead]:
    """Adds noise to each position of each direction in turn, and checks whether any logit changes.

    Tries again with random weights where nothing changes: a unit may be saturated, or a maximum may
    lie at another step.
    """
    networks: dict[int, StatesRead] = {}  # The key is the network's id.
    for root in probe.modules:
        for name, module in root.named_modules():
            if isinstance(module, Recurrent):
                networks[id(module)] = StatesRead(name, module)
    for network in networks.values():
        for draw in range(1 + MOST_DRAWS):
            with probe.random_weights() if draw else nullcontext():
                _note_reads(probe, network)
            if not network.called or not (network.unread() or network.truncated()):
                break
    return [network for network in networks.values() if network.called]


def _note_reads(probe: Probe, network: StatesRead) -> None:
    """Adds to `network.read` what moves a logit with the present weights."""
    inputs = probe.sampler.batch(probe.full)
    before = probe.rows(inputs, probe.full)
    for direction, position, size in product(network.directions, POSITIONS, (1.0, 10.0)):
        if (direction, position) in network.read:
            continue
        with _with_noise(network, direction, position, size):
            after = probe.rows(inputs, probe.full)
        if not all(map(torch.equal, before, after)):
            network.read.add((direction, position))


def _with_noise(network: StatesRead, direction: str, position: str, size: float) -> RemovableHandle:
    """A hook: noise at one position of the last layer's `output`, `h_n` and `c_n`."""
    direction_count = len(network.directions)
    number = network.directions.index(direction)
    generator = torch.Generator().manual_seed(0)

    def noise_like(tensor: Tensor) -> Tensor:
        return size * torch.randn(tensor.shape, generator=generator).to(tensor)

    def add_noise(output: Any, final_states: list[Tensor]) -> Any:
        steps = output.data if isinstance(output, PackedSequence) else output  # (..., D*H)
        seen, length = _steps_seen(network.rnn, output, direction)
        has_middle = length > 2
        network.called |= bool(has_middle.any())
        if position == "start":
            is_at_position = seen == 0
        elif position == "middle":
            is_at_position = (seen > 0) & (seen < length - 1)
        else:
            is_at_position = seen == length - 1
        feature = torch.arange(steps.shape[-1])
        width = steps.shape[-1] // direction_count
        is_of_direction = feature // width == number
        is_noisy = (is_at_position & has_middle).unsqueeze(-1) & is_of_direction
        steps = steps + noise_like(steps) * is_noisy.to(steps)
        if position == "end":
            # The final states are (L*D, B, H), and the last layer's come last.
            place_of_last_layer = number - direction_count
            for states in final_states:
                states[place_of_last_layer] += noise_like(states[place_of_last_layer])
        return output._replace(data=steps) if isinstance(output, PackedSequence) else steps

    return hook(network.rnn, add_noise)


def hook(rnn: Recurrent, change: Callable[[Any, list[Tensor]], Any]) -> RemovableHandle:
    """Makes a network return the output that `change` gives of its output and final states,
    `(L*D, B, H)` each, which it may change in place."""

    def changed_result(network: Recurrent, arguments: Any, result: tuple[Any, Any]) -> Any:
        output, final_state = result
        final_states = [tensor.clone() for tensor in parts_of(final_state)]
        changed_output = change(output, final_states)
        return changed_output, state_of(*final_states)

    return rnn.register_forward_hook(changed_result)


def _steps_seen(
    rnn: Recurrent, output: Tensor | PackedSequence, direction: str
) -> tuple[Tensor, Tensor]:
    """How many steps the direction has seen before each step of `output`, and the row's length;
    both broadcast against `output` without its last dimension."""
    if isinstance(output, PackedSequence):
        counts = output.batch_sizes
        rows_by_step = [torch.arange(int(count)) for count in counts]
        row = torch.cat(rows_by_step)
        step = torch.arange(len(counts)).repeat_interleave(counts)
        # A row has as many steps as have more rows than its number.
        lengths = (counts.unsqueeze(1) > rows_by_step[0]).sum(dim=0)
        length = lengths[row]
    else:
        time_axis = 1 if output.dim() == 3 and rnn.batch_first else 0
        shape = [1] * (output.dim() - 1)
        shape[time_axis] = -1
        step = torch.arange(output.shape[time_axis]).view(shape)
        length = torch.tensor(output.shape[time_axis])
    return (step if direction == "forward" else length - 1 - step), length


# Networks that a model unrolls by itself.


def unrolled(probe: Probe, networks: list[StatesRead]) -> dict[str, set[int]]:
    """The steps, counted from 1, from which a gradient comes, of each module with weights that are
    applied to what they gave before, as by `nn.LSTMCell` in a loop; by its name.

    Args:
        networks: those of which the states are checked; their weights don't count.
    """
    ids_of_checked_weights: set[int] = set()
    for network in networks:
        ids_of_checked_weights.update(map(id, network.rnn.parameters()))
    names_by_id: dict[int, str] = {}
    for root in probe.modules:
        for name, weight in root.named_parameters():
            module_name = name.rpartition(".")[0]
            names_by_id[id(weight)] = module_name or name
    weights = [
        weight
        for weight in probe.parameters
        if weight.requires_grad and id(weight) not in ids_of_checked_weights
    ]
    steps_by_name: dict[str, set[int]] = {}
    for draw in range(MOST_DRAWS):
        with probe.random_weights() if draw else nullcontext():
            for weight_id, steps in _steps_with_gradient(probe, weights).items():
                name = names_by_id.get(weight_id, "")
                steps_by_name.setdefault(name, set()).update(steps)
        if all(max(steps, default=0) > 1 for steps in steps_by_name.values()):
            break
    return steps_by_name


def truncated_cells(steps_by_name: dict[str, set[int]]) -> list[str]:
    """Evidence for each module of `unrolled` that is read at its first step alone."""
    return [
        f"{name!r} is read at its first step, where it has seen only one step, alone"
        for name, steps in steps_by_name.items()
        if steps == {1}
    ]


def unread_cells(steps_by_name: dict[str, set[int]]) -> list[str]:
    """Evidence for each module of `unrolled` that is not read."""
    return [
        f"{name!r}: no gradient of a logit reaches any of its steps"
        for name, steps in steps_by_name.items()
        if not steps
    ]


def _steps_with_gradient(probe: Probe, weights: list[Tensor]) -> dict[int, set[int]]:
    """The steps from which a gradient comes, by the id of each recurrent weight."""
    logits, _ = probe.call(probe.sampler.batch(probe.full), probe.full)
    nodes = nodes_of(logits)
    steps_by_weight: dict[int, set[int]] = {}
    with ExitStack() as hooks:
        for weight_id, uses in _uses(nodes, weights).items():
            if len(uses) < FEWEST_STEPS:
                continue
            step_of_node = _steps_of(nodes, uses)
            if max(step_of_node.values(), default=0) < FEWEST_STEPS:
                continue
            # The hooks fill these sets while the gradient is taken.
            steps = steps_by_weight.setdefault(weight_id, set())
            for node in uses:
                add_step = partial(_add_step_with_gradient, steps, step_of_node[node])
                handle = node.register_prehook(add_step)
                hooks.callback(handle.remove)
        if steps_by_weight:
            factors = torch.randn(logits.shape, generator=probe.sampler.generator).to(logits)
            torch.autograd.grad(logits, weights, factors, allow_unused=True)
    return steps_by_weight


def _uses(nodes: list[Node], weights: list[Tensor]) -> dict[int, set[Node]]:
    """What is computed with each weight, which may be transposed or cut, by the weight's id."""
    uses: dict[int, set[Node]] = {id(weight): set() for weight in weights}
    # The id of the weight that a node is, transposed or cut; 0 for a node that is none.
    weight_of_node: dict[Node, int] = {}
    for node in nodes:
        nodes_before = _nodes_before(node)
        if hasattr(node, "variable"):
            weight_of_node[node] = id(node.variable)
        elif len(node.next_functions) == 1 and nodes_before:
            weight_of_node[node] = weight_of_node.get(nodes_before[0], 0)
        else:
            for node_before in nodes_before:
                weight_id = weight_of_node.get(node_before, 0)
                if weight_id in uses:
                    uses[weight_id].add(node)
    return uses


def _steps_of(nodes: list[Node], uses: set[Node]) -> dict[Node, int]:
    """How many uses there are up to each node; no recurrence has few of them, whatever their
    order."""
    steps: dict[Node, int] = {}
    for node in nodes:
        steps[node] = max((steps[before] for before in _nodes_before(node)), default=0)
        if node in uses:
            steps[node] += 1
    return steps


def _nodes_before(node: Node) -> list[Node]:
    """The nodes from which a node is computed."""
    return [node_before for node_before, _ in node.next_functions if node_before]


def _add_step_with_gradient(
    steps: set[int], step: int, gradients: tuple[Tensor | None, ...]
) -> None:
    """Adds the step if any of these gradients is not 0."""
    if any(gradient is not None and bool(gradient.any()) for gradient in gradients):
        steps.add(step)


# Gradients.


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
    seen: set[nn.Module] = set()  # networks, and the cells in them
    for root in probe.modules:
        for path, module in root.named_modules():
            if module in seen or not isinstance(module, Recurrent | nn.RNNCellBase):
                continue
            seen.update(module.modules())
            label = label_of(path, module)
            if any(weight.requires_grad for weight in module.parameters()):
                networks[module] = label
            else:
                probe.untested.append(f"lost_gradient: {label} is frozen (requires_grad=False)")
    return networks


def _run_networks(probe: Probe, networks: Networks) -> tuple[Tensor, list[nn.Module]]:
    """The logits, and the networks that ran without gradients."""
    without_gradients: list[nn.Module] = []

    def note(network: nn.Module, inputs: Any) -> None:
        if not torch.is_grad_enabled() and network not in without_gradients:
            without_gradients.append(network)

    with ExitStack() as hooks:
        for network in networks:
            hooks.enter_context(network.register_forward_pre_hook(note))
        logits, _ = probe.call(probe.sampler.batch(probe.full), probe.full)
    return logits, without_gradients


def _not_reached_networks(probe: Probe, networks: Networks) -> Networks:
    """The networks that no gradient of the logits reaches, whatever the weights are."""
    not_reached = dict(networks)
    for draw in range(MOST_DRAWS_OF_GRADIENTS):
        if not not_reached:
            break
        with probe.random_weights() if draw else nullcontext():
            logits, _ = probe.call(probe.sampler.batch(probe.full), probe.full)
            for network in _reached_networks(probe, logits, not_reached):
                del not_reached[network]
    return not_reached


def _reached_networks(probe: Probe, logits: Tensor, networks: Networks) -> list[nn.Module]:
    if not logits.requires_grad:
        return []
    weights: list[Tensor] = []
    network_of_weight: list[nn.Module] = []  # one for each of the weights
    for network in networks:
        for weight in network.parameters():
            if weight.requires_grad:
                weights.append(weight)
                network_of_weight.append(network)
    # The sum of the logits may not depend on what each of them depends on: take random factors.
    factors = torch.randn(logits.shape, generator=probe.sampler.generator).to(logits)
    gradients = torch.autograd.grad(logits, weights, factors, allow_unused=True)
    reached = {
        network
        for network, gradient in zip(network_of_weight, gradients, strict=True)
        if gradient is not None and bool(gradient.any())
    }
    return [network for network in networks if network in reached]


def _moves_the_logits(probe: Probe, network: nn.Module) -> bool:
    inputs = probe.sampler.batch(probe.full)
    before = probe.rows(inputs, probe.full)

    def with_noise(weights: Tensor) -> Tensor:
        return weights + torch.randn(weights.shape, generator=probe.sampler.generator).to(weights)

    with changed(network.parameters(), with_noise):
        after = probe.rows(inputs, probe.full)
    return not all(map(torch.equal, before, after))
