"""Check that a gradient of the logits reaches each recurrent network in a model."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.audit.directions import label_of
from seqmodels.audit.isolation import changed, training
from seqmodels.audit.probe import Probe
from seqmodels.nn.cell import Recurrent

MOST_DRAWS = 4  # of random weights: a gradient may be 0 because a unit is dead or saturated

Networks = dict[nn.Module, str]  # and what a message calls them


def lost_gradient(probe: Probe) -> str:
    """A network moves the logits, but no gradient of them reaches its weights, as after `detach()`:
    a training leaves it as it is.

    Notes as untested the networks that are frozen, or run without gradients on purpose.
    """
    networks = _trainable_networks(probe)
    logits, without_gradients = _run(probe, networks)
    for network in without_gradients:
        name = networks.pop(network)
        probe.untested.append(f"lost_gradient: {name} runs without gradients (torch.no_grad)")
    if networks and not logits.requires_grad:
        # The model may copy its logits out of the graph, for example to NumPy.
        probe.untested.append("lost_gradient: these logits have no gradient")
        return ""
    lost = _not_reached(probe, networks)
    if lost:
        # A model may cut its gradients in evaluation mode alone.
        with probe.trying("lost_gradient, in training mode"), training(probe.modules):
            lost = _not_reached(probe, lost)
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


def _run(probe: Probe, networks: Networks) -> tuple[Tensor, list[nn.Module]]:
    """The logits, and the networks that ran without gradients."""
    without_gradients: dict[nn.Module, None] = {}  # in their order

    def note(network: nn.Module, inputs: Any) -> None:
        if not torch.is_grad_enabled():
            without_gradients[network] = None

    with ExitStack() as hooks:
        for network in networks:
            hooks.enter_context(network.register_forward_pre_hook(note))
        logits, _ = probe.call(probe.sampler.batch(probe.full), probe.full)
    return logits, [*without_gradients]


def _not_reached(probe: Probe, networks: Networks) -> Networks:
    """The networks that no gradient of the logits reaches, whatever the weights are."""
    left = dict(networks)
    for draw in range(MOST_DRAWS):
        if not left:
            break
        with probe.random_weights() if draw else nullcontext():
            logits, _ = probe.call(probe.sampler.batch(probe.full), probe.full)
            for network in _reached(probe, logits, left):
                del left[network]
    return left


def _reached(probe: Probe, logits: Tensor, networks: Networks) -> list[nn.Module]:
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
