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

# We take the gradients of so many random combinations of the logits.
DIRECTIONS_OF_GRADIENT = 4
# So many tokens of a vocabulary are enough: the logits of more depend on the same features.
MOST_TOKENS = 512
Select = Callable[[RNNOutput], Tensor]


@dataclass(frozen=True, eq=False)
class Trace:
    """What a model reads from a batch.

    A share is the L2 norm of the gradient of a row's logits with respect to one cell, divided by
    the sum over all cells of that row. What has a share of 0 is not read.
    """

    shapes: dict[str, tuple[int, ...]]  # every tensor from the inputs to the logits, in order
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
        """The share of each tensor, mean over rows; they sum to 1 if every row is read."""
        shares = dict[str, float]()
        for name, cells in self.cells.items():
            shares_by_row = cells.flatten(1).sum(dim=1)  # (B,)
            shares[name] = float(shares_by_row.mean())
        return shares

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors that reach the logits of any row."""
        return tuple(name for name, cells in self.cells.items() if bool(cells.any()))


def trace(network: Network, batch: SequenceBatch) -> Trace:
    """Cuts the graph at `output`, `h_n` and `c_n`, and measures by gradients which of them the head
    reads; then, which inputs reach the logits through the whole network. Where gradients don't
    reach all that the head declares, its parameters of 0 get other values for a moment: a gate or a
    projection may start at 0. Leaves the network as it was. The batch must be on its device.

    Raises:
        UserError: if the head reads other tensors than it declares in `reads`.
    """
    head = network.head
    with isolated([network]):
        rows = network.rows_to_read(batch)
        embedded = network.embed(rows).detach().requires_grad_()
        convolved = network.encoder_inputs(embedded, rows.lengths)
        states = network.encoder(convolved, rows.lengths)

        # The head reads copies without a history: gradients end at them.
        tensors = states.tensors
        copies = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
        copied_states = RNNOutput.of(copies, states.lengths)
        sources = list(copies.values())
        with few_tokens(head.output), ExitStack() as stack:
            read_out: Select = partial(network.read_out, batch=batch)
            norms = _gradient_norms(read_out(copied_states), sources)
            norms_by_name = dict(zip(copies, norms, strict=True))
            if not all(bool(norms_by_name[name].any()) for name in head.reads):
                stack.enter_context(without_zeros(head))
                norms = _gradient_norms(read_out(copied_states), sources)
                norms_by_name = dict(zip(copies, norms, strict=True))
            selected = head.select(copied_states)
            logits = read_out(copied_states)
            _check_declaration(head, read_out, copied_states, norms_by_name)
            # The states themselves still have their history.
            [norms_of_features] = _gradient_norms(read_out(states), [embedded])  # (B, T, E)
    norms_of_inputs = norms_of_features.norm(dim=-1)
    inputs = _share(norms_of_inputs, norms_of_inputs.sum(dim=-1))
    output, finals = _shares_of_cells(norms, states)

    tensors_in_order = {"inputs": batch.inputs, "embedded": embedded}
    if network.convolutions is not None:
        tensors_in_order["convolved"] = convolved
    tensors_in_order |= tensors | {"selected": selected, "logits": logits}
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in tensors_in_order.items()
        if isinstance(tensor, Tensor)  # What is selected for a decoder is no tensor.
    }
    if isinstance(head.output, Vocabulary):  # Only a few of its tokens were measured.
        shapes["logits"] = (*logits.shape[:-1], head.output.project.out_features)
    return Trace(shapes, rows.lengths, output, finals, inputs)


def _shares_of_cells(norms: list[Tensor], states: RNNOutput) -> tuple[Tensor, dict[str, Tensor]]:
    """The shares within `output` `(B, T, D)`, and within each final state `(B, L, D)`.

    Args:
        norms: how much the logits depend on each element of `output` `(B, T, D*H)`, and of each
            final state `(L, D, B, H)`.
    """
    norms_of_output, *norms_of_finals = norms
    directions = states.h_n.shape[1]
    output = norms_of_output.unflatten(-1, (directions, -1)).norm(dim=-1)
    output = output * states.mask.cpu().unsqueeze(-1)
    total = output.flatten(1).sum(dim=1)  # (B,), over all cells of all tensors
    finals = list[Tensor]()
    for norms_of_final in norms_of_finals:
        cells = norms_of_final.norm(dim=-1).permute(2, 0, 1)  # (L, D, B, H) -> (B, L, D)
        finals.append(cells)
        total = total + cells.flatten(1).sum(dim=1)
    shares_of_finals = [_share(cells, total) for cells in finals]
    return _share(output, total), dict(zip(states.finals, shares_of_finals, strict=True))


def without_zeros(module: nn.Module) -> AbstractContextManager[None]:
    """Within: where a parameter is 0, it has another value. What training has not moved yet hides
    no tensor so. Buffers stay, because nothing trains them."""
    generator = torch.Generator().manual_seed(0)

    def filled(data: Tensor) -> Tensor:
        # Positive numbers have a root and a logarithm; different ones don't cancel out.
        values = torch.rand(data.shape, generator=generator) + 0.5
        return data.where(data != 0, values.to(data))

    return changed(module.parameters(), filled)


def few_tokens(output: nn.Module, *embeddings: nn.Module) -> AbstractContextManager[None]:
    """Within: the softmax over a vocabulary, and embeddings, end after `MOST_TOKENS`."""
    tables = list[nn.Module]()
    if isinstance(output, Vocabulary):
        tables.append(output.project)
    for embedding in embeddings:
        tables += [module for module in embedding.modules() if isinstance(module, nn.Embedding)]
    weights = [weight for table in tables for weight in table.parameters()]
    return changed(weights, lambda data: data[:MOST_TOKENS])


def _gradient_norms(result: Tensor, sources: list[Tensor]) -> list[Tensor]:
    """How much the last dimension of `result` depends on each element of each source: the root of
    the mean square over random combinations, which are the same for all rows and steps."""
    # In float64, the square of a small gradient is not 0.
    squares = [torch.zeros(source.shape, dtype=torch.float64) for source in sources]
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
                square += gradient.cpu().double().square_()
    return [square.div_(DIRECTIONS_OF_GRADIENT).sqrt_() for square in squares]


def _share(cells: Tensor, total: Tensor) -> Tensor:
    """Divides the cells `(B, ...)` of each row by the row's total `(B,)`, unless that is 0."""
    divisor = total.where(total > 0, 1.0)
    missing_dimensions = cells.dim() - total.dim()
    divisor = divisor.view(total.shape + (1,) * missing_dimensions)
    return (cells / divisor).float()


def _check_declaration(
    head: Head, read_out: Select, states: RNNOutput, norms: dict[str, Tensor]
) -> None:
    """Refuses a head that reads other tensors than it declares.

    Args:
        norms: for each tensor, how much the result of `read_out` depends on its elements.
    """
    measured = {name for name, norm in norms.items() if bool(norm.any())}
    # A gradient can be 0 at one point, as of a saturated unit or where a maximum is elsewhere.
    with without_zeros(head):
        for name in norms:
            if name not in measured and _changes(read_out, states, name):
                measured.add(name)
    if measured == set(head.reads):
        return

    names = tuple(name for name in norms if name in measured)
    if not names:
        raise UserError(
            f"head {head.name!r} declares reads={head.reads}, but by their gradients its logits "
            "depend on none of the tensors: change select"
        )
    raise UserError(
        f"head {head.name!r} declares reads={head.reads}, but by their gradients its logits "
        f"depend on {' and '.join(names)}: declare reads={names}, or change select"
    )


def _changes(function: Select, states: RNNOutput, name: str) -> bool:
    """Whether random changes of the tensor of this name, of several sizes, change the result."""
    generator = torch.Generator().manual_seed(0)
    tensors = states.tensors
    # A value that is nan whatever the tensor holds is no change.
    result = function(states).nan_to_num()
    for size in (1.0, 10.0, 0.1, 100.0):
        noise = torch.randn(tensors[name].shape, generator=generator).to(tensors[name])
        changed_tensor = tensors[name] + size * noise
        changed_tensors = tensors | {name: changed_tensor}
        changed_states = RNNOutput.of(changed_tensors, states.lengths)
        if not torch.equal(result, function(changed_states).nan_to_num()):
            return True
    return False
