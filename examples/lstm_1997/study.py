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
from seqmodels.nn.outputs import ClassOutput, Output, ValueOutput

Errors = tuple[Tensor, Tensor]
"""For each sequence the mean error of its outputs, and whether it is wrong, `(B,)` each."""


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
    if batch.possible is not None:
        # All other symbols must be less active than the possible ones, and below the tolerance.
        limit = outputs.masked_fill(~batch.possible, 1).amin(-1).clamp(max=task.tolerance or 1)
        is_wrong = outputs.masked_fill(batch.possible, 0).amax(-1) >= limit  # (B, T)
        return is_wrong.float().mean(1), is_wrong.any(1)
    targets = nn.functional.one_hot(batch.targets, task.classes)
    error = (outputs - targets).abs().flatten(1)
    return error.mean(1), error.amax(1) >= task.tolerance


def solved(task: Task, errors_of_batches: Iterable[Errors], spared: int = 0) -> bool:
    """Whether all sequences but `spared` are right, and the mean error is small."""
    error, is_wrong = map(torch.cat, zip(*errors_of_batches, strict=True))
    return bool(is_wrong.sum() <= spared and error.mean() < task.mean_error)


def share_right(errors_of_batches: Iterable[Errors]) -> float:
    is_wrong = torch.cat([is_wrong for _, is_wrong in errors_of_batches])
    return 1 - is_wrong.float().mean().item()


def set_biases(rnn: nn.RNNBase, closed: float) -> None:
    """An LSTM forgets nothing, as in 1997, and its input gates begin ever more closed; a GRU begins
    as one that forgets little."""
    nn.init.zeros_(rnn.bias_ih_l0)
    nn.init.zeros_(rnn.bias_hh_l0)
    biases = rnn.bias_ih_l0.detach().split(rnn.hidden_size)
    if isinstance(rnn, nn.LSTM):
        input_gate, forget_gate, *_ = biases
        input_gate -= torch.linspace(0, closed, len(input_gate))
        forget_gate += 30
    else:
        _, update_gate, _ = biases
        update_gate += 5


class Trial:
    """A network, and how it learns a task."""

    def __init__(self, task: Task, cell: str, heads: dict[str, str], seed: int) -> None:
        torch.manual_seed(seed)
        self.task = task
        self.random = np.random.default_rng(seed)
        example = task.make(self.random, 1)
        num_inputs = example.inputs.shape[-1]
        self.encoder = RecurrentEncoder(num_inputs, task.hidden, cell=cell)
        set_biases(self.encoder.rnn, task.closed)
        per = "step" if example.targets.ndim == 2 else "sequence"
        self.head = build_head(heads[per], self.encoder, self.make_output)
        self.recurrent_weights = [*self.encoder.parameters(), *self.head.parameters()]
        self.weights = [*self.recurrent_weights]
        # Connections from the inputs to the outputs, beside the network.
        self.direct = None
        if task.direct:
            self.direct = nn.Linear(num_inputs, task.classes or 1, bias=False)
            self.weights += self.direct.parameters()
        self.optimizer = torch.optim.Adam(self.weights, lr=0.01, betas=(0.9, 0.99))

    def make_output(self, width: int) -> Output:
        if self.task.classes:
            return ClassOutput(width, self.task.classes)
        return ValueOutput(width, 1)

    def run(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The logits, and the loss."""
        states = self.encoder(batch.inputs, batch.lengths)
        logits = self.head(states)
        if self.direct is not None:
            logits = logits + self.direct(batch.inputs)
            loss = nn.functional.cross_entropy(logits.flatten(0, -2), batch.targets.flatten())
        elif self.task.longer and batch.possible is not None:
            # The targets are all symbols that may come next, in equal shares: from the next symbol
            # alone, a network learns at which length the texts of training end.
            is_known = batch.targets != -100
            possible = batch.possible[is_known]
            shares = possible / possible.sum(-1, keepdim=True)
            loss = nn.functional.cross_entropy(logits[is_known], shares)
        else:
            loss = self.head.score(states, batch.targets).loss
        return logits, loss

    def learn(self, batch: Batch) -> Errors:
        """A step of the optimizer; the errors before it."""
        logits, loss = self.run(batch)
        errors_of_batch = errors(self.task, logits.detach(), batch)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return errors_of_batch

    @torch.no_grad()
    def tested(self, make: Make, size: int) -> list[Errors]:
        """The errors in so many fresh sequences."""
        errors_of_batches = []
        for _ in range(0, size, 500):
            batch = make(self.random, min(size, 500))
            logits, _ = self.run(batch)
            errors_of_batches.append(errors(self.task, logits, batch))
        return errors_of_batches


def train(task: Task, cell: str, heads: dict[str, str], seed: int) -> tuple[float, float, float]:
    """How many fresh sequences it takes to meet the paper's criterion (infinite: too many), and the
    share of the last ones that was right, and of longer ones."""
    trial = Trial(task, cell, heads, seed)
    recent_errors = deque[Errors](maxlen=-(-task.recent // task.batch))
    num_sequences = 0.0
    is_solved = False
    while not is_solved and num_sequences < task.limit:
        batch = task.make(trial.random, task.batch)
        num_sequences += task.batch
        # At first, only the direct connections learn. In the paper, the network joins them when the
        # error no longer falls.
        for weight in trial.recurrent_weights:
            weight.requires_grad_(num_sequences > task.direct)
        recent_errors.append(trial.learn(batch))
        if len(recent_errors) < recent_errors.maxlen:
            continue
        if solved(task, recent_errors, task.spared):
            is_solved = not task.fresh or solved(task, trial.tested(task.make, task.fresh))
            if not is_solved:  # It learns some more before the next test.
                recent_errors = deque([recent_errors[-1]], recent_errors.maxlen)
    if not is_solved:
        num_sequences = math.inf
    share_of_longer = math.nan
    if task.longer:
        share_of_longer = share_right(trial.tested(task.longer, 1000))
    return num_sequences, share_right(recent_errors), share_of_longer


def summary(runs: Sequence[tuple[float, float, float]]) -> str:
    """How many were solved, after how many sequences (the median); or what was right at last."""
    sequences, shares_right, shares_of_longer = zip(*runs, strict=True)
    num_solved = sum(map(math.isfinite, sequences))
    reached = f"{median(sequences):,.0f}"
    if math.isinf(median(sequences)):
        reached = f"{100 * mean(shares_right):.0f} % right"
    text = f"{num_solved} of {len(runs)}: {reached}"
    if not math.isnan(shares_of_longer[0]):
        text += f", longer {100 * mean(shares_of_longer):.1f} %"
    return text


@command
def main(*experiments: str, seeds: Count = 10, processes: Count = 2) -> None:
    """Train on all experiments, or on those you name, and print a table."""
    unknown = {*experiments} - TASKS.keys()
    if unknown:
        raise UserError(f"{min(unknown)} is no experiment: {choices(min(unknown), TASKS)}")
    print(f"{platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}")
    print(f"\n| experiment | paper | {' | '.join(TRIED)} |\n|---|---|---|---|---|")
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for name in experiments or TASKS:
            task = TASKS[name]
            futures_by_network = {}
            for network, (cell, heads) in TRIED.items():
                futures_by_network[network] = [
                    pool.submit(train, task, cell, heads, seed) for seed in range(seeds)
                ]
            cells = [task.title, task.paper]
            for futures in futures_by_network.values():
                runs = [future.result() for future in futures]
                cells.append(summary(runs))
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
