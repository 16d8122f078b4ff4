"""Measure by gradients which tensors, layers, directions and steps reach the logits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqmodels.audit.isolation import changed, isolated
from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.heads import Head
from seqmodels.network import Network
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.vocabulary import Vocabulary

DIRECTIONS_OF_GRADIENT = 4  # random combinations of the logits whose gradients are taken
MOST_TOKENS = 512  # of a vocabulary: more have logits of the same features
Select = Callable[[RNNOutput], Tensor]


@dataclass(frozen=True, eq=False)
class Trace:
    """What a model reads from a batch.

    A share is the L2 norm of the gradient of a row's logits with respect to one cell, divided by
    the sum over all cells of that row. What has a share of 0 is not read.
    """

    shapes: dict[str, tuple[int, ...]]  # of every tensor from the inputs to the logits, in order
    lengths: Int[Tensor, " batch"]
    output: Float[Tensor, "batch time directions"]  # 0 at padding, where `output` is constant
    finals: dict[str, Float[Tensor, "batch layers directions"]]  # h_n, c_n and others
    inputs: Float[Tensor, "batch time"]  # through the whole network

    @property
    def cells(self) -> dict[str, Tensor]:
        """The shares within `output`, and within each final state."""
        return {"output": self.output, **self.finals}

    @property
    def shares(self) -> dict[str, float]:
        """The share of each tensor, mean over rows; they sum to 1."""
        return {name: float(of.flatten(1).sum(dim=1).mean()) for name, of in self.cells.items()}

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors that reach the logits of any row."""
        return tuple(name for name, cells in self.cells.items() if bool(cells.any()))


def trace(network: Network, batch: SequenceBatch) -> Trace:
    """Cuts the graph at `output`, `h_n` and `c_n`, and measures by gradients which of them the head
    reads; then, which inputs reach the logits through the whole network. Leaves it as it was. The
    batch must be on its device.

    Raises:
        UserError: if the head reads other tensors than it declares in `reads`.
    """
    head = network.head
    with isolated([network]), ExitStack() as narrow:
        rows = network.rows_to_read(batch)
        embedded = network.embed(rows).detach().requires_grad_()
        convolved = network.encoder_inputs(embedded, rows.lengths)
        states = network.encoder(convolved, rows.lengths)
        traced = states.tensors
        cut = {name: tensor.detach().requires_grad_() for name, tensor in traced.items()}
        leaves = RNNOutput.of(cut, states.lengths)
        narrow.enter_context(few_tokens(head.output))
        selected, logits = head.select(leaves), network.read_out(leaves, batch)
        norms = _gradient_norms(logits, [*cut.values()])
        read_from: Select = partial(network.read_out, batch=batch)
        projected = any(bool(norm.any()) for norm in norms) or not isinstance(selected, Tensor)
        if not projected:  # the projection has zero weights
            norms, read_from = _gradient_norms(selected, [*cut.values()]), head.select
        _check_declaration(head, read_from, leaves, dict(zip(cut, norms, strict=True)))

        output, *final = norms
        output = output.unflatten(-1, (states.h_n.shape[1], -1)).norm(dim=-1)  # (B, T, D)
        output = output * states.mask.cpu().unsqueeze(-1)
        final = [norm.norm(dim=-1).permute(2, 0, 1) for norm in final]  # (L, D, B, H) -> (B, L, D)
        total = sum(part.flatten(1).sum(dim=1) for part in (output, *final))
        output, *final = (_share(part, total) for part in (output, *final))
    on_the_way = {"inputs": batch.inputs, "embedded": embedded}
    if network.convolutions is not None:
        on_the_way["convolved"] = convolved
    on_the_way |= traced | {"selected": selected, "logits": logits}
    # a decoder gets the tensors as they are
    shapes = {n: tuple(of.shape) for n, of in on_the_way.items() if isinstance(of, Tensor)}
    if isinstance(head.output, Vocabulary):
        shapes["logits"] = (*logits.shape[:-1], head.output.project.out_features)
    finals = dict(zip(states.finals, final, strict=True))
    return Trace(shapes, rows.lengths, output, finals, _reach(network, batch, projected))


def _reach(network: Network, batch: SequenceBatch, projected: bool) -> Tensor:
    """Which input steps reach the logits, or what the head selects, through the whole network."""
    rows = network.rows_to_read(batch)
    with isolated([network]):
        embedded = network.embed(rows).detach().requires_grad_()
        with few_tokens(network.head.output):
            # A row of a network with windows is read as a whole here.
            encoder_inputs = network.encoder_inputs(embedded, rows.lengths)
            states = network.encoder(encoder_inputs, rows.lengths)
            result = network.read_out(states, batch) if projected else network.head.select(states)
            [gradient] = _gradient_norms(result, [embedded])
    norms = gradient.norm(dim=-1)
    return _share(norms, norms.sum(dim=-1))


def few_tokens(output: nn.Module, *embeddings: nn.Module) -> AbstractContextManager[None]:
    """Within: the softmax over a vocabulary, and embeddings, end after `MOST_TOKENS`."""
    tables: list[nn.Module] = [output.project] if isinstance(output, Vocabulary) else []
    tables += [p for each in embeddings for p in each.modules() if isinstance(p, nn.Embedding)]
    weights = [weight for table in tables for weight in table.parameters()]
    return changed(weights, lambda data: data[:MOST_TOKENS])


def _gradient_norms(result: Tensor, sources: list[Tensor]) -> list[Tensor]:
    """How much the last dimension of `result` depends on each element of each source: the root of
    the mean square over random combinations, which are the same for all rows and steps."""
    squares = [torch.zeros(source.shape, dtype=torch.float64) for source in sources]  # no underflow
    generator = torch.Generator().manual_seed(0)
    if not result.requires_grad:
        return squares
    for _ in range(DIRECTIONS_OF_GRADIENT):
        combination = torch.randn(result.shape[-1], generator=generator).to(result)
        gradients = torch.autograd.grad(
            result, sources, combination.expand_as(result), retain_graph=True, allow_unused=True
        )
        for square, gradient in zip(squares, gradients, strict=True):
            if gradient is not None:
                square += gradient.cpu().double() ** 2
    return [(square / DIRECTIONS_OF_GRADIENT).sqrt() for square in squares]


def _share(part: Tensor, total: Tensor) -> Tensor:
    shape = total.shape + (1,) * (part.dim() - total.dim())
    return (part / total.where(total > 0, 1.0).view(shape)).float()


def _check_declaration(
    head: Head, read_from: Select, leaves: RNNOutput, norms: dict[str, Tensor]
) -> None:
    measured = {name for name, norm in norms.items() if bool(norm.any())}
    # a gradient can be 0 at one point, as of a saturated unit or where a maximum is elsewhere
    measured |= {each for each in {*head.reads} - measured if _changes(read_from, leaves, each)}
    if measured != {*head.reads}:
        found = tuple(name for name in norms if name in measured)
        raise UserError(
            f"head {head.name!r} declares reads={head.reads}, but by their gradients its logits "
            f"depend on {' and '.join(found) or 'none of the tensors'}: "
            + (f"declare reads={found}, or change select" if found else "change select")
        )


def _changes(function: Select, states: RNNOutput, name: str) -> bool:
    """Whether random changes of that tensor, of several sizes, change the result."""
    generator = torch.Generator().manual_seed(0)
    before, tensors = function(states), states.tensors
    for size in (1.0, 10.0, 0.1, 100.0):
        noise = size * torch.randn(tensors[name].shape, generator=generator).to(tensors[name])
        changed_one = tensors | {name: tensors[name] + noise}
        if not torch.equal(before, function(RNNOutput.of(changed_one, states.lengths))):
            return True
    return False
