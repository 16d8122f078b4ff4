"""The tasks of Hochreiter and Schmidhuber (1997), "Long Short-Term Memory", and two that count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Random = np.random.Generator
Text = tuple[str, list[str]]
"""The symbols of a text, and for each but the last the symbols that may come next."""

# For each state, the state to which each symbol leads.
REBER = [
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
]


class Batch(NamedTuple):
    inputs: Tensor  # (B, T, F), zero from each sequence's end on
    lengths: Tensor  # (B,)
    targets: Tensor  # (B,), classes or numbers; or each next symbol, (B, T), -100 at padding
    possible: Tensor | None = None  # (B, T, C), which symbols may come next; None: only the target


Make = Callable[[Random, int], Batch]


def texts(random: Random, size: int, alphabet: str, text: Callable[[Random], Text]) -> Batch:
    """Predict each next symbol. A text is right if the possible ones are always the most active."""
    rows = [text(random) for _ in range(size)]
    lengths = np.array([len(following) for _, following in rows])
    codes = np.zeros((size, lengths.max() + 1), np.int64)
    possible = np.ones((size, lengths.max(), len(alphabet)), bool)
    for row, (symbols, following) in enumerate(rows):
        codes[row, : len(symbols)] = [alphabet.index(symbol) for symbol in symbols]
        for column, symbol in enumerate(alphabet):
            is_possible = [symbol in next_symbols for next_symbols in following]
            possible[row, : len(following), column] = is_possible
    targets = np.where(np.arange(lengths.max()) < lengths[:, None], codes[:, 1:], -100)
    inputs = np.eye(len(alphabet))[codes[:, :-1]]
    return batch(inputs, lengths, targets)._replace(possible=torch.from_numpy(possible))


def reber(random: Random) -> Text:
    """Experiment 1, the embedded Reber grammar: the second symbol comes again before the last.
    Solved: all symbols of 256 training and 256 test strings are predicted."""
    outer = "TP"[random.integers(2)]
    symbols = f"B{outer}"
    following = ["TP", "B"]
    state = 0
    while state < len(REBER):
        next_symbols = list(REBER[state])
        symbol = next_symbols[random.integers(len(next_symbols))]
        symbols += symbol
        state = REBER[state][symbol]
        following.append("".join(REBER[state]) if state < len(REBER) else outer)
    return f"{symbols}{outer}E", [*following, "E"]


def a_n_b_n(random: Random, least: int, most: int) -> Text:
    """As many b as a: from the first b on, each next symbol is certain to a cell that counts."""
    n = random.integers(least, most + 1)
    return "#" + "a" * n + "b" * n + "#", ["a", *["ab"] * n, *["b"] * (n - 1), "#"]


def dyck_1(random: Random, least: int, most: int) -> Text:
    """Balanced brackets: the text may end where all that were opened are closed."""
    symbols, following = "", list[str]()
    while not least <= len(following) <= most:
        symbols = "#"
        following = []
        depth = 0
        while symbols == "#" or symbols[-1] != "#":
            opens = random.random() <= (0.4 if depth else 0.8)
            following.append("()" if depth else "(#")
            if opens:
                symbols += "("
                depth += 1
            elif depth:
                symbols += ")"
                depth -= 1
            else:
                symbols += "#"
    return symbols, following


def long_lag(random: Random, size: int, lag: int) -> Batch:
    """Experiment 2a: x or y comes again after `lag - 1` others, always the same. Predict each next
    symbol. Solved: in 10,000 sequences (there are but two), no output is wrong by 0.25."""
    ends = random.integers(lag - 1, lag + 1, (size, 1))
    symbols = np.concatenate([ends, np.tile(np.arange(lag - 1), (size, 1)), ends], axis=1)
    return batch(np.eye(lag + 1)[symbols[:, :-1]], np.full(size, lag), symbols[:, 1:])


def noisy_lag(random: Random, size: int, lag: int) -> Batch:
    """Experiment 2c: b, x or y, `lag` or more random symbols, and the trigger e. Was it x or y?
    Solved: in 10,000 sequences, no output is wrong by 0.2."""
    lengths = lag + 2 + random.geometric(0.1, size)
    classes = random.integers(2, size=size)
    symbols = random.integers(lag, size=(size, lengths.max()))
    symbols[:, 0] = lag  # b
    symbols[:, 1] = lag + 1 + classes  # x or y
    symbols[np.arange(size), lengths - 1] = lag + 3  # e
    return batch(np.eye(lag + 4)[symbols], lengths, classes)


def two_sequences(random: Random, size: int) -> Batch:
    """Experiment 3a: the first three numbers are 1 or -1, the class; the others are noise. Solved:
    of 256 sequences, no output is wrong by 0.2, and the mean error is below 0.01."""
    lengths = random.integers(100, 111, size)
    classes = random.integers(2, size=size)
    numbers = random.normal(0, 0.2**0.5, (size, lengths.max(), 1))
    numbers[:, :3] = 2 * classes[:, None, None] - 1
    return batch(numbers, lengths, classes)


def marked(random: Random, size: int, product: bool) -> Batch:
    """Experiments 4 and 5: two of at least 100 numbers are marked: what is their scaled sum, or
    their product? Solved: of the last 2,000 sequences, none is wrong by 0.04, and the mean error is
    below 0.01; of products, less than 140 are."""
    lengths = random.integers(100, 111, size)
    rows = np.arange(size)
    numbers = random.uniform(0 if product else -1, 1, (size, lengths.max()))
    first_steps = random.integers(10, size=size)
    second_steps = random.integers(49, size=size)
    second_steps[second_steps >= first_steps] += 1  # Another step than the first one is marked.
    # The first step cannot show its mark: its number changes nothing.
    is_hidden = (first_steps == 0) | (second_steps == 0)
    numbers[is_hidden, 0] = float(product)
    marks = np.zeros_like(numbers)
    marks[rows, first_steps] = 1
    marks[rows, second_steps] = 1
    marks[:, 0] = -1
    marks[rows, lengths - 1] = -1
    first_numbers = numbers[rows, first_steps]
    second_numbers = numbers[rows, second_steps]
    targets = 0.5 + (first_numbers + second_numbers) / 4
    if product:
        targets = first_numbers * second_numbers
    return batch(np.stack([numbers, marks], axis=2), lengths, targets.astype(np.float32))


def order(random: Random, size: int, places: list[tuple[int, int]]) -> Batch:
    """Experiments 6a and 6b: in which order did X and Y come, two or three times among others?
    Solved: of the last 2,000 sequences, no output is wrong by 0.3, the mean error is below 0.1."""
    lengths = random.integers(100, 111, size)
    rows = np.arange(size)
    symbols = random.integers(4, size=(size, lengths.max()))
    classes = np.zeros(size, np.int64)
    for least, most in places:
        bits = random.integers(2, size=size)  # 0 for X, 1 for Y
        steps = random.integers(least, most + 1, size)
        symbols[rows, steps] = 4 + bits
        classes = 2 * classes + bits
    symbols[:, 0] = 6  # E
    symbols[rows, lengths - 1] = 7  # B
    return batch(np.eye(8)[symbols], lengths, classes)


def batch(inputs: np.ndarray, lengths: np.ndarray, targets: np.ndarray) -> Batch:
    """A batch of arrays; each sequence is cut at its end."""
    is_inside = np.arange(inputs.shape[1]) < lengths[:, None]  # (B, T)
    cut_inputs = torch.from_numpy(inputs * is_inside[:, :, None]).float()
    return Batch(cut_inputs, torch.from_numpy(lengths), torch.from_numpy(targets))


@dataclass(frozen=True)
class Task:
    """A task, and when it is solved.

    Args:
        paper: how many sequences the paper's LSTM took, a mean over trials.
        classes: how many there are; None: the target is a number.
        tolerance: by how much an output may be wrong; of texts, how active a symbol may be that
            can't come next.
        recent, spared: among so many last training sequences, all but `spared` must be right.
        fresh: then, so many others must be right.
        mean_error: the mean error of the outputs must be smaller.
        longer: makes sequences of twice the length, to test at last.
        hidden: the size of the network.
        closed: by how much the last input gate of an LSTM is closed, at first.
        limit: so many training sequences are enough to give up.
        direct: from so many sequences only direct connections of inputs and outputs learn.
    """

    title: str
    make: Make
    paper: str
    classes: int | None
    tolerance: float | None = None
    recent: int = 2000
    spared: int = 0
    fresh: int = 0
    mean_error: float = 1.0
    longer: Make | None = None
    hidden: int = 16
    closed: float = 5.0
    batch: int = 32
    limit: int = 100_000
    direct: int = 0


def counting(title: str, alphabet: str, text: Callable[..., Text], most: int) -> Task:
    shorter_text = partial(text, least=1, most=most)
    longer_text = partial(text, least=most + 1, most=2 * most)
    make = partial(texts, alphabet=alphabet, text=shorter_text)
    make_longer = partial(texts, alphabet=alphabet, text=longer_text)
    return Task(title, make, "", 3, 0.1, 50_000, longer=make_longer, hidden=3, limit=120_000)


grammar = partial(texts, alphabet="BTSXPVE", text=reber)
lag = partial(long_lag, lag=100)
noise = partial(noisy_lag, lag=50)
adding = partial(marked, product=False)
multiplying = partial(marked, product=True)
order_of_two = partial(order, places=[(10, 20), (50, 60)])
order_of_three = partial(order, places=[(10, 20), (33, 43), (66, 76)])
TASKS = {
    "reber": Task("1: Reber grammar", grammar, "8,440", 7, recent=256, fresh=256),
    "lag": Task(
        "2a: lag 100",
        lag,
        "5,040",
        101,
        0.25,
        recent=100,
        fresh=100,
        batch=8,
        limit=50_000,
        direct=8000,
    ),
    "noisy_lag": Task("2c: lag 51 or more", noise, "30,000", 2, 0.2, recent=100, fresh=10_000),
    "two_sequences": Task(
        "3a: two sequences",
        two_sequences,
        "39,850",
        2,
        0.2,
        recent=256,
        fresh=256,
        mean_error=0.01,
    ),
    "adding": Task("4: adding", adding, "74,000", None, 0.04, mean_error=0.01),
    "multiplying": Task("5: multiplying", multiplying, "482,000", None, 0.04, spared=139),
    "order_2": Task("6a: order of two", order_of_two, "31,390", 4, 0.3, mean_error=0.1),
    "order_3": Task("6b: order of three", order_of_three, "571,100", 8, 0.3, mean_error=0.1),
    "a_n_b_n": counting("a^n b^n", "#ab", a_n_b_n, 10),
    "dyck_1": counting("Dyck-1", "#()", dyck_1, 50),
}
