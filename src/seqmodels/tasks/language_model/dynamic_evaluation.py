"""Dynamic evaluation: a language model keeps learning from each window after it is scored."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.nn.state import without_gradient


def dynamic_evaluation(
    task: Task,
    loader: Iterable[SequenceBatch],
    *,
    learning_rate: float,
    decay: float,
) -> dict[str, float]:
    """Scores each window, then takes a step of gradient descent on it (Krause et al. 2018,
    https://arxiv.org/abs/1709.07432, the variant with plain gradients).

    No window is scored with weights that have seen it, so the result is fair; but it answers
    another question than `test`, because the model adapts. The task is left as it was.

    Args:
        learning_rate: of the steps; the gradient of a window is clipped to a norm of 1.
        decay: the share of the way back to the trained weights that is taken after each step.

    Returns:
        `test/loss` in nats, `test/perplexity` and, where the loader knows it, `test/bits_per_byte`.
    """
    for name, value in (("learning_rate", learning_rate), ("decay", decay)):
        if value < 0:
            raise UserError(f"dynamic_{name}={value}: it must be at least 0")
    parameters: list[Tensor] = [p for p in task.parameters() if p.requires_grad]
    trained = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.SGD(parameters, lr=learning_rate)
    rnn, dropout = task.encoder.rnn, task.encoder.rnn.dropout
    rnn.dropout = 0.0
    task.eval()
    rnn.train(isinstance(rnn, torch.nn.RNNBase))  # the backward pass of cuDNN needs it
    nats, count, state = torch.zeros((), device=task.device), 0, None
    try:
        for batch in loader:
            batch = batch.to(task.device)
            assert batch.targets is not None
            states = task.encode(batch, state if batch.continues else None)
            state = without_gradient(states.state)
            loss = task.head.loss(states, batch.targets)
            tokens = int(batch.lengths.sum())
            nats += loss.detach() * tokens
            count += tokens
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            with torch.no_grad():
                for parameter, before in zip(parameters, trained, strict=True):
                    parameter.lerp_(before, decay)
    finally:
        rnn.dropout = dropout
        task.eval()
        with torch.no_grad():
            for parameter, before in zip(parameters, trained, strict=True):
                parameter.copy_(before)
        optimizer.zero_grad()
    loss = nats / count
    metrics = {"loss": loss, **task.metrics_of_loss(loss, getattr(loader, "dataset", None))}
    return {f"test/{name}": float(value) for name, value in metrics.items()}
