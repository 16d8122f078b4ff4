"""Which tensors, layers, directions and steps reach the logits: measured by gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.audit.undisturbed import undisturbed
from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.heads import Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.tasks import Task

DIRECTIONS_OF_GRADIENT = 4  # random combinations of the logits whose gradients are taken


@dataclass(frozen=True, eq=False)
class Trace:
    """What a model was seen to read from a batch.

    A share is the L2 norm of the gradient of a row's logits with respect to one cell, divided by
    the sum over all cells of that row: what is 0 is not read.

    Args:
        shapes: of every tensor on the way, in order, by name.
        lengths: `(B,)`.
        output: `(B, T, D)`: the share of each step and direction of `output`; 0 at padding, where
            `output` is a constant, whoever reads it.
        h_n, c_n: `(B, L, D)`: likewise of each layer and direction; `c_n` is None without one.
        inputs: `(B, T)`: which input steps reach the logits of a row, through the whole network;
            for a prediction at every step `(B, T, T)`: which input steps (last) reach which logits.
    """

    shapes: dict[str, tuple[int, ...]]
    lengths: Int[Tensor, " batch"]
    output: Float[Tensor, "batch time directions"]
    h_n: Float[Tensor, "batch layers directions"]
    c_n: Float[Tensor, "batch layers directions"] | None
    inputs: Float[Tensor, "batch time"] | Float[Tensor, "batch time time"]

    @property
    def shares(self) -> dict[str, float]:
        """The share of each tensor, mean over rows; they sum to 1."""
        return {name: float(cells.flatten(1).sum(dim=1).mean()) for name, cells in self.cells()}

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors that reach the logits of any row."""
        return tuple(name for name, cells in self.cells() if bool(cells.any()))

    def cells(self) -> list[tuple[str, Tensor]]:
        """`output`, `h_n` and, where there is one, `c_n`."""
        cells = [("output", self.output), ("h_n", self.h_n)]
        return cells if self.c_n is None else [*cells, ("c_n", self.c_n)]


def trace(task: Task, batch: SequenceBatch) -> Trace:
    """Makes `output`, `h_n` and `c_n` leaves, runs the head, and reads from the gradients what it
    read; then the same from the inputs, through the whole network.

    Args:
        task: trained or not; it is left as it was.
        batch: a real one, on the task's device. A prediction at every step costs a backward
            pass for each step.

    Raises:
        UserError: if the head reads other tensors than it declares in `reads`.
    """
    head = task.head
    with undisturbed([task]):
        embedded = task.embed(batch).detach().requires_grad_()
        states = task.encoder(embedded, batch.lengths)
        leaves = RNNOutput(
            output=states.output.detach().requires_grad_(),
            h_n=states.h_n.detach().requires_grad_(),
            c_n=None if states.c_n is None else states.c_n.detach().requires_grad_(),
            lengths=states.lengths,
        )
        tensors = [t for t in (leaves.output, leaves.h_n, leaves.c_n) if t is not None]
        selected, logits = head.select(leaves), head(leaves)
        reached = _gradient_norms(logits, tensors)
        read_from: Callable[[RNNOutput], Tensor] = head
        if not any(bool(norm.any()) for norm in reached):  # a projection that starts from zero
            reached, read_from = _gradient_norms(selected, tensors), head.select
        _check_declaration(head, read_from, leaves, reached)

        directions, width = states.h_n.shape[1], states.output.shape[-1]
        output, *final = reached
        output = output.unflatten(-1, (directions, width // directions)).norm(dim=-1)  # (B, T, D)
        output = output * states.mask.cpu().unsqueeze(-1)
        final = [norm.norm(dim=-1).permute(2, 0, 1) for norm in final]  # (L, D, B, H) -> (B, L, D)
        total = sum(part.flatten(1).sum(dim=1) for part in (output, *final))
        output, *final = (_share(part, total) for part in (output, *final))

    tensors_by_name = {
        "inputs": batch.inputs,
        "embedded": embedded,
        "output": states.output,
        "h_n": states.h_n,
        **({} if states.c_n is None else {"c_n": states.c_n}),
        "selected": selected,
        "logits": logits,
    }
    return Trace(
        shapes={name: tuple(tensor.shape) for name, tensor in tensors_by_name.items()},
        lengths=batch.lengths,
        output=output,
        h_n=final[0],
        c_n=final[1] if len(final) > 1 else None,
        inputs=reach(task, batch),
    )


def reach(
    task: Task, batch: SequenceBatch, *, last_step: bool = False
) -> Float[Tensor, "batch time"] | Float[Tensor, "batch time time"]:
    """Which input steps reach the logits, through the whole network, as shares.

    Args:
        task, batch: as in `trace`.
        last_step: of predictions at every step, only those of each row's last step.

    Returns:
        `(B, T)`; for predictions at every step `(B, T, T)`, input steps last.
    """
    with undisturbed([task]):
        embedded = task.embed(batch).detach().requires_grad_()
        states = task.encoder(embedded, batch.lengths)
        for read_from in (task.head, task.head.select):
            result = read_from(states)
            if task.head.per == "step" and last_step:
                result = result[torch.arange(len(batch)), batch.lengths - 1]
            results = [result]
            if result.dim() == 3:
                # what the logits at padding are is of no interest
                result = result * states.mask.unsqueeze(-1)
                results = [result[:, step] for step in range(result.shape[1])]
            norms = [_gradient_norms(r, [embedded])[0].norm(dim=-1) for r in results]
            if any(bool(norm.any()) for norm in norms):
                break  # else the projection starts from zero
    shares = torch.stack([_share(norm, norm.sum(dim=-1)) for norm in norms], dim=1)  # (B, T, T)
    return shares if result.dim() == 3 else shares.squeeze(1)


def _gradient_norms(result: Tensor, sources: list[Tensor]) -> list[Tensor]:
    """For each element of each source, how much the last dimension of `result` depends on it: the
    root of the mean square over random combinations, which are the same for all rows and steps."""
    squares = [torch.zeros(source.shape, dtype=torch.float64) for source in sources]  # no underflow
    generator = torch.Generator().manual_seed(0)
    if not result.requires_grad:
        return squares
    for _ in range(DIRECTIONS_OF_GRADIENT):
        combination = torch.randn(result.shape[-1], generator=generator)
        gradients = torch.autograd.grad(
            result,
            sources,
            combination.to(result).expand_as(result),
            retain_graph=True,
            allow_unused=True,
        )
        for square, gradient in zip(squares, gradients, strict=True):
            if gradient is not None:
                square += gradient.cpu().double() ** 2
    return [(square / DIRECTIONS_OF_GRADIENT).sqrt() for square in squares]


def _share(part: Tensor, total: Tensor) -> Tensor:
    shape = total.shape + (1,) * (part.dim() - total.dim())
    return (part / total.where(total > 0, 1.0).view(shape)).float()


def _check_declaration(
    head: Head,
    read_from: Callable[[RNNOutput], Tensor],
    leaves: RNNOutput,
    reached: list[Tensor],
) -> None:
    names = ("output", "h_n", "c_n")
    measured = {n for n, norm in zip(names, reached, strict=False) if bool(norm.any())}
    for name in set(head.reads) - measured:
        # a gradient can be zero at one point: units that are saturated, a maximum elsewhere
        if _changes(read_from, leaves, name):
            measured.add(name)
    if measured != set(head.reads):
        found = tuple(n for n in names if n in measured)
        raise UserError(
            f"head {head.name!r} declares reads={head.reads}, but by their gradients its logits "
            f"depend on {' and '.join(found) or 'none of the tensors'}: "
            + (f"declare reads={found}, or change select" if found else "change select")
        )


def _changes(function: Callable[[RNNOutput], Tensor], states: RNNOutput, name: str) -> bool:
    """Whether the result depends on that tensor, by random changes of several sizes."""
    generator = torch.Generator().manual_seed(0)
    before, tensor = function(states), getattr(states, name)
    for size in (1.0, 10.0, 0.1, 100.0):
        noise = size * torch.randn(tensor.shape, generator=generator).to(tensor)
        parts = {n: getattr(states, n) for n in ("output", "h_n", "c_n")}
        after = function(RNNOutput(**{**parts, name: tensor + noise}, lengths=states.lengths))
        if not torch.equal(before, after):
            return True
    return False
