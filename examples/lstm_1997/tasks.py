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
Text = tuple[str, list[str]]  # its symbols, and for each but the last what may come next
REBER = [{"B": 1}, {"T": 2, "P": 3}, {"S": 2, "X": 4}, {"T": 3, "V": 5}, {"X": 3, "S": 6}]
REBER += [{"P": 4, "V": 6}, {"E": 7}]  # from each state, the next symbol and where it leads


class Batch(NamedTuple):
    inputs: Tensor  # (B, T, F), zero from each sequence's end on
    lengths: Tensor  # (B,)
    targets: Tensor  # (B,), classes or numbers; or each next symbol, (B, T), -100 at padding
    possible: Tensor | None = None  # (B, T, C), which symbols may come next; None: only the target


Make = Callable[[Random, int], Batch]


def texts(random: Random, size: int, alphabet: str, text: Callable[[Random], Text]) -> Batch:
    """Predict each next symbol. A text is right if the possible ones are always the most active."""
    made = [text(random) for _ in range(size)]
    lengths = np.array([len(following) for _, following in made])
    codes = np.zeros((size, lengths.max() + 1), np.int64)
    possible = np.ones((size, lengths.max(), len(alphabet)), bool)
    for row, (symbols, following) in enumerate(made):
        codes[row, : len(symbols)] = [alphabet.index(symbol) for symbol in symbols]
        allowed = {some: [each in some for each in alphabet] for some in following}
        possible[row, : len(following)] = [allowed[some] for some in following]
    targets = np.where(np.arange(lengths.max()) < lengths[:, None], codes[:, 1:], -100)
    inputs = np.eye(len(alphabet))[codes[:, :-1]]
    return batch(inputs, lengths, targets)._replace(possible=torch.from_numpy(possible))


def reber(random: Random) -> Text:
    """Experiment 1, the embedded Reber grammar: the second symbol comes again before the last.
    Solved: all symbols of 256 training and 256 test strings are predicted."""
    outer = "TP"[random.integers(2)]
    symbols, following, state = f"B{outer}", ["TP", "B"], 0
    while state < 7:
        symbol = list(REBER[state])[random.integers(len(REBER[state]))]
        symbols, state = symbols + symbol, REBER[state][symbol]
        following.append("".join(REBER[state]) if state < 7 else outer)
    return f"{symbols}{outer}E", [*following, "E"]


def a_n_b_n(random: Random, least: int, most: int) -> Text:
    """As many b as a: from the first b on, each next symbol is certain to a cell that counts."""
    n = random.integers(least, most + 1)
    return "#" + "a" * n + "b" * n + "#", ["a", *["ab"] * n, *["b"] * (n - 1), "#"]


def dyck_1(random: Random, least: int, most: int) -> Text:
    """Balanced brackets: the text may end where all that were opened are closed."""
    symbols, following = "", list[str]()
    while not least <= len(following) <= most:
        symbols, following, depth = "#", [], 0
        while symbols == "#" or symbols[-1] != "#":
            following.append("()" if depth else "(#")
            symbols += following[-1][int(random.random() > (0.4 if depth else 0.8))]
            depth += {"(": 1, ")": -1, "#": 0}[symbols[-1]]
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
    lengths, classes = lag + 2 + random.geometric(0.1, size), random.integers(2, size=size)
    symbols = random.integers(lag, size=(size, lengths.max()))
    symbols[:, 0], symbols[:, 1] = lag, lag + 1 + classes
    symbols[np.arange(size), lengths - 1] = lag + 3
    return batch(np.eye(lag + 4)[symbols], lengths, classes)


def two_sequences(random: Random, size: int) -> Batch:
    """Experiment 3a: the first three numbers are 1 or -1, the class; the others are noise. Solved:
    of 256 sequences, no output is wrong by 0.2, and the mean error is below 0.01."""
    lengths, classes = random.integers(100, 111, size), random.integers(2, size=size)
    numbers = random.normal(0, 0.2**0.5, (size, lengths.max(), 1))
    numbers[:, :3] = 2 * classes[:, None, None] - 1
    return batch(numbers, lengths, classes)


def marked(random: Random, size: int, product: bool) -> Batch:
    """Experiments 4 and 5: two of at least 100 numbers are marked: what is their scaled sum, or
    their product? Solved: of the last 2,000 sequences, none is wrong by 0.04, and the mean error is
    below 0.01; of products, less than 140 are."""
    lengths, rows = random.integers(100, 111, size), np.arange(size)
    numbers = random.uniform(0 if product else -1, 1, (size, lengths.max()))
    one, other = random.integers(10, size=size), random.integers(49, size=size)
    other += other >= one  # among those not yet marked
    numbers[(one == 0) | (other == 0), 0] = float(product)
    marks = np.zeros_like(numbers)
    marks[rows, one], marks[rows, other] = 1, 1
    marks[:, 0], marks[rows, lengths - 1] = -1, -1
    first, second = numbers[rows, one], numbers[rows, other]
    targets = first * second if product else 0.5 + (first + second) / 4
    return batch(np.stack([numbers, marks], axis=2), lengths, targets.astype(np.float32))


def order(random: Random, size: int, places: list[tuple[int, int]]) -> Batch:
    """Experiments 6a and 6b: in which order did X and Y come, two or three times among others?
    Solved: of the last 2,000 sequences, no output is wrong by 0.3, the mean error is below 0.1."""
    lengths, rows = random.integers(100, 111, size), np.arange(size)
    symbols, classes = random.integers(4, size=(size, lengths.max())), np.zeros(size, np.int64)
    for least, most in places:
        which = random.integers(2, size=size)
        symbols[rows, random.integers(least, most + 1, size)] = 4 + which
        classes = 2 * classes + which
    symbols[:, 0], symbols[rows, lengths - 1] = 6, 7  # E and B
    return batch(np.eye(8)[symbols], lengths, classes)


def batch(inputs: np.ndarray, lengths: np.ndarray, targets: np.ndarray) -> Batch:
    """Of arrays; cuts each sequence at its end."""
    inside = np.arange(inputs.shape[1]) < lengths[:, None]
    cut = torch.from_numpy(inputs * inside[:, :, None]).float()
    return Batch(cut, torch.from_numpy(lengths), torch.from_numpy(targets))


@dataclass(frozen=True)
class Task:
    title: str
    make: Make
    paper: str  # how many sequences the paper's LSTM took, a mean over trials
    classes: int | None  # None: a number
    tolerance: float | None = None  # of an output; of texts: of those that can't be, if any
    recent: int = 2000  # of the last so many training sequences, all but `spared` must be right,
    spared: int = 0
    fresh: int = 0  # then, so many others
    mean_error: float = 1.0  # below which the outputs must be
    longer: Make | None = None  # sequences of twice the length, to test at last
    hidden: int = 16
    closed: float = 5.0  # how much the last input gate of an LSTM is, at first
    batch: int = 32
    limit: int = 100_000  # training sequences
    direct: int = 0  # sequences from which only direct connections of inputs and outputs learn


def counting(title: str, alphabet: str, text: Callable[..., Text], most: int) -> Task:
    make, longer = partial(text, least=1, most=most), partial(text, least=most + 1, most=2 * most)
    make, longer = (partial(texts, alphabet=alphabet, text=each) for each in (make, longer))
    return Task(title, make, "", 3, 0.1, 50_000, longer=longer, hidden=3, limit=120_000)


grammar, same = partial(texts, alphabet="BTSXPVE", text=reber), partial(long_lag, lag=100)
noisy, two = partial(noisy_lag, lag=50), partial(order, places=[(10, 20), (50, 60)])
three = partial(order, places=[(10, 20), (33, 43), (66, 76)])
add, multiply = (partial(marked, product=product) for product in (False, True))
size = {"batch": 8, "limit": 50_000, "direct": 8000}
TASKS = {
    "reber": Task("1: Reber grammar", grammar, "8,440", 7, recent=256, fresh=256),
    "lag": Task("2a: lag 100", same, "5,040", 101, 0.25, 100, 0, 100, **size),
    "noisy_lag": Task("2c: lag 51 or more", noisy, "30,000", 2, 0.2, 100, fresh=10_000),
    "two_sequences": Task("3a: two sequences", two_sequences, "39,850", 2, 0.2, 256, 0, 256, 0.01),
    "adding": Task("4: adding", add, "74,000", None, 0.04, mean_error=0.01),
    "multiplying": Task("5: multiplying", multiply, "482,000", None, 0.04, spared=139),
    "order_2": Task("6a: order of two", two, "31,390", 4, 0.3, mean_error=0.1),
    "order_3": Task("6b: order of three", three, "571,100", 8, 0.3, mean_error=0.1),
    "a_n_b_n": counting("a^n b^n", "#ab", a_n_b_n, 10),
    "dyck_1": counting("Dyck-1", "#()", dyck_1, 50),
}
