"""Check that a model reads the networks that it unrolls by itself, step by step, at their end."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from seqmodels.audit.directions import MOST_DRAWS, StatesRead
from seqmodels.audit.probe import Node, Probe, nodes_of

FEWEST = 3  # steps of a recurrence


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


def truncated(steps_read: dict[str, set[int]]) -> list[str]:
    """Evidence for each module of `unrolled` that is read at its first step alone."""
    where = "is read at its first step, where it has seen only one step, alone"
    return [f"{name!r} {where}" for name, steps in steps_read.items() if steps == {1}]


def unread(steps_read: dict[str, set[int]]) -> list[str]:
    """Evidence for each module of `unrolled` that is not read."""
    none = "no gradient of a logit reaches any of its steps"
    return [f"{name!r}: {none}" for name, steps in steps_read.items() if not steps]


def _steps_with_gradient(probe: Probe, weights: list[Tensor]) -> dict[int, set[int]]:
    """By the id of each recurrent weight."""
    logits, _ = probe.call(probe.sampler.batch(probe.full), probe.full)
    nodes = nodes_of(logits)
    leads_to: dict[Node, int] = {}  # a weight, perhaps transposed or cut
    uses: dict[int, set[Node]] = {id(weight): set() for weight in weights}
    for node in nodes:
        below = [other for other, _ in node.next_functions if other]
        if hasattr(node, "variable"):
            leads_to[node] = id(node.variable)
        elif len(node.next_functions) == 1 and below:
            leads_to[node] = leads_to.get(below[0], 0)
        else:
            for other in below:
                uses.get(leads_to.get(other, 0), set()).add(node)
    read: dict[int, set[int]] = {}
    with ExitStack() as stack:
        for weight, own in uses.items():
            if len(own) < FEWEST:  # no recurrence, whatever the order of its uses
                continue
            step = dict[Node, int]()  # how many uses there are up to each node
            for node in nodes:
                below = [step[other] for other, _ in node.next_functions if other]
                step[node] = max(below, default=0) + (node in own)
            if max(step.values(), default=0) >= FEWEST:
                steps = read.setdefault(weight, set())
                for node in own:
                    note = partial(_note, steps, step[node])
                    stack.callback(node.register_prehook(note).remove)
        if read:
            noise = torch.randn(logits.shape, generator=probe.sampler.generator).to(logits)
            torch.autograd.grad(logits, weights, noise, allow_unused=True)
    return read


def _note(steps: set[int], step: int, gradients: tuple[Tensor | None, ...]) -> None:
    if any(gradient is not None and bool(gradient.any()) for gradient in gradients):
        steps.add(step)
