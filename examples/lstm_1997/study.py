"""What the LSTM of 1997 can do: python examples/lstm_1997/study.py, or ... adding seeds=3"""

from __future__ import annotations

import math
import platform
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import mean, median

import numpy as np
import torch
from tasks import TASKS, Batch, Make, Task
from torch import Tensor, nn

from seqmodels import Head, RecurrentEncoder, RNNOutput
from seqmodels.arguments import Count
from seqmodels.errors import UserError, choices
from seqmodels.heads import build_head
from seqmodels.launch.command_line import command
from seqmodels.nn.outputs import ClassOutput, ValueOutput

Errors = tuple[Tensor, Tensor]  # of each sequence: the mean of its outputs, and whether it is wrong


class FirstOutput(Head, name="first_output"):
    """`output[:, 0]`: it has read one step."""

    reads = ("output",)

    def select(self, states: RNNOutput) -> Tensor:
        return states.output[:, 0]  # (B, T, H) -> (B, H)


class FinalAtEveryStep(Head, name="final_at_every_step"):
    """`h_n` again and again, where each step needs its own `output`."""

    reads = ("h_n",)
    per = "step"

    def select(self, states: RNNOutput) -> Tensor:
        return states.h_n[-1, 0].unsqueeze(1).expand(-1, states.output.shape[1], -1)  # (B, T, H)


RIGHT = {"sequence": "last_hidden", "step": "every_step"}
WRONG = {"sequence": "first_output", "step": "final_at_every_step"}
TRIED = {"LSTM": ("lstm", RIGHT), "GRU": ("gru", RIGHT), "LSTM, wrong tensor": ("lstm", WRONG)}


def errors(task: Task, logits: Tensor, batch: Batch) -> Errors:
    if task.classes is None:
        error = (logits.squeeze(-1) - batch.targets).abs()
        return error, error >= task.tolerance
    outputs = logits.softmax(-1)
    if batch.possible is not None:  # all others must be less active, and below the tolerance
        least = outputs.masked_fill(~batch.possible, 1).amin(-1).clamp(max=task.tolerance or 1)
        wrong = outputs.masked_fill(batch.possible, 0).amax(-1) >= least
        return wrong.float().mean(1), wrong.any(1)
    error = (outputs - nn.functional.one_hot(batch.targets, task.classes)).abs().flatten(1)
    return error.mean(1), error.amax(1) >= task.tolerance


def solved(task: Task, found: Iterable[Errors], spared: int = 0) -> bool:
    error, wrong = map(torch.cat, zip(*found, strict=True))
    return bool(wrong.sum() <= spared and error.mean() < task.mean_error)


def share_right(found: Iterable[Errors]) -> float:
    return 1 - torch.cat([wrong for _, wrong in found]).float().mean().item()


def set_biases(rnn: nn.RNNBase, closed: float) -> None:
    """An LSTM forgets nothing, as in 1997, and its input gates begin ever more closed; a GRU begins
    as one that forgets little."""
    nn.init.zeros_(rnn.bias_ih_l0), nn.init.zeros_(rnn.bias_hh_l0)
    takes, keeps, *_ = rnn.bias_ih_l0.detach().split(rnn.hidden_size)
    if isinstance(rnn, nn.LSTM):
        takes -= torch.linspace(0, closed, len(takes))
    keeps += 30 if isinstance(rnn, nn.LSTM) else 5


def train(task: Task, cell: str, heads: dict[str, str], seed: int) -> tuple[float, float, float]:
    """How many fresh sequences it takes to meet the paper's criterion (infinite: too many), and the
    share of the last ones that was right, and of longer ones."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    example = task.make(random, 1)
    encoder = RecurrentEncoder(example.inputs.shape[-1], task.hidden, cell=cell)
    set_biases(encoder.rnn, task.closed)
    head = build_head(
        heads["step" if example.targets.ndim == 2 else "sequence"],
        encoder,
        lambda width: ClassOutput(width, task.classes) if task.classes else ValueOutput(width, 1),
    )

    memory, direct = [*encoder.parameters(), *head.parameters()], None
    if task.direct:
        direct = nn.Linear(example.inputs.shape[-1], task.classes or 1, bias=False)

    def run(batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and loss."""
        states = encoder(batch.inputs, batch.lengths)
        logits = head(states)
        if direct is not None:
            logits = logits + direct(batch.inputs)
            flat = logits.flatten(0, -2), batch.targets.flatten()
            return logits, nn.functional.cross_entropy(*flat)
        if task.longer and batch.possible is not None:
            # all that may come next, in equal shares: from the next symbol alone, a network learns
            # at which length the texts of training end
            known = batch.targets != -100
            shares = batch.possible[known] / batch.possible[known].sum(-1, keepdim=True)
            return logits, nn.functional.cross_entropy(logits[known], shares)
        return logits, head.score(states, batch.targets).loss

    @torch.no_grad()
    def tested(make: Make, size: int) -> list[Errors]:
        batches = (make(random, min(size, 500)) for _ in range(0, size, 500))
        return [errors(task, run(batch)[0], batch) for batch in batches]

    weights, done = [*memory, *(direct.parameters() if direct else ())], 0
    optimizer = torch.optim.Adam(weights, lr=0.01, betas=(0.9, 0.99))
    recent = deque[Errors](maxlen=-(-task.recent // task.batch))
    while done < task.limit:
        batch, done = task.make(random, task.batch), done + task.batch
        for weight in memory:  # in the paper, it comes when the error no longer falls
            weight.requires_grad_(done > task.direct)
        logits, loss = run(batch)
        recent.append(errors(task, logits.detach(), batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if len(recent) == recent.maxlen and solved(task, recent, task.spared):
            if not task.fresh or solved(task, tested(task.make, task.fresh)):
                break
            recent = deque([recent[-1]], recent.maxlen)  # learn some more before the next test
    else:
        done = math.inf
    longer = share_right(tested(task.longer, 1000)) if task.longer else math.nan
    return done, share_right(recent), longer


def shown(runs: Sequence[tuple[float, float, float]]) -> str:
    """How many were solved, after how many sequences (the median); or what was right at last."""
    sequences, right, longer = zip(*runs, strict=True)
    middle = median(sequences)
    reached = f"{middle:,.0f}" if middle < math.inf else f"{100 * mean(right):.0f} % right"
    text = f"{sum(map(math.isfinite, sequences))} of {len(runs)}: {reached}"
    return text if math.isnan(longer[0]) else f"{text}, longer {100 * mean(longer):.1f} %"


@command
def main(*experiments: str, seeds: Count = 10, processes: Count = 2) -> None:
    """Train on all experiments, or on those you name, and print a table."""
    if unknown := {*experiments} - TASKS.keys():
        raise UserError(f"{min(unknown)} is no experiment: {choices(min(unknown), TASKS)}")
    print(f"{platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}")
    print(f"\n| experiment | paper | {' | '.join(TRIED)} |\n|---|---|---|---|---|")
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for task in map(TASKS.__getitem__, experiments or TASKS):
            jobs = [(task, *tried, seed) for tried in TRIED.values() for seed in range(seeds)]
            runs = [*pool.map(train, *zip(*jobs, strict=True))]
            each = [shown(runs[first : first + seeds]) for first in range(0, len(runs), seeds)]
            print(f"| {' | '.join((task.title, task.paper, *each))} |", flush=True)


if __name__ == "__main__":
    main()
