"""Measure one client on rnn_vectors.npz, in the environment of its library; needs numpy alone.

    python measure.py clients/pytorch.py packed cpu rnn_vectors.npz measurements.jsonl

`run.py` calls this for each row of its table. A line of JSON says which case begins, so that one
where the library dies is known, and another one says what came of it.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Clients compute in float32, the vectors are float64: differences up to this are rounding.
LARGEST_ROUNDING = 1e-5
CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
RESULTS = ("output", "h_n", "c_n")

Run = Callable[["Case"], Any]


class Weights(NamedTuple):
    """The weights of one layer and direction, with `G` gates: i, f, g, o of an LSTM, r, z, n of a
    GRU."""

    w_ih: np.ndarray  # (G*H, F)
    w_hh: np.ndarray  # (G*H, H)
    b_ih: np.ndarray  # (G*H,)
    b_hh: np.ndarray  # (G*H,)
    w_hr: np.ndarray | None = None  # (P, H), a projection

    @property
    def bias(self) -> np.ndarray:
        """Both biases in one, for a library that has one."""
        return self.b_ih + self.b_hh

    @property
    def gru_biases(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of a GRU, for a library that keeps only `b_hn` apart: `(3*H,)` and `(H,)`."""
        b_hr_and_hz, b_hn = np.split(self.b_hh, [2 * len(self.b_hh) // 3])
        return self.b_ih + np.concatenate([b_hr_and_hz, np.zeros_like(b_hn)]), b_hn

    def in_order(self, gates: str, wanted_gates: str) -> Weights:
        """The same with its gates in another order: `weights.in_order("ifgo", "iofg")`."""
        reordered = []
        for array in self[:4]:
            chunk_by_gate = dict(zip(gates, np.split(array, len(gates)), strict=True))
            reordered.append(np.concatenate([chunk_by_gate[gate] for gate in wanted_gates]))
        return Weights(*reordered, self.w_hr)


@dataclass(frozen=True)
class Case:
    """A network of the vectors, and the rows that it reads, for a client.

    Args:
        arrays: those of docs/vectors.py by name, in float32: `inputs` `(B, T, F)`, `lengths`, the
            weights as `nn.LSTM` names them, and if rows don't start from zero, `h_0` and `c_0`.
        variant: which of the client's `ROWS` is measured, as `free shapes`.
        device: what `run.py --device` names.
    """

    name: str
    arrays: dict[str, np.ndarray]
    variant: str = ""
    device: str = "cpu"

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    @property
    def cell(self) -> str:
        """LSTM, GRU or RNN."""
        return CELLS[self.name.partition("_")[0]]

    @property
    def num_layers(self) -> int:
        return sum(name.startswith("weight_ih") for name in self.arrays) // self.num_directions

    @property
    def num_directions(self) -> int:
        return 2 if "weight_ih_l0_reverse" in self else 1

    @property
    def input_size(self) -> int:
        return self["inputs"].shape[2]

    @property
    def hidden_size(self) -> int:
        num_gates = {"LSTM": 4, "GRU": 3, "RNN": 1}
        return len(self["weight_hh_l0"]) // num_gates[self.cell]

    @property
    def proj_size(self) -> int:
        """0 without a projection."""
        return len(self["weight_hr_l0"]) if "weight_hr_l0" in self else 0

    @property
    def lengths(self) -> np.ndarray:
        """`(B,)`."""
        return self["lengths"]

    @property
    def zero_padded(self) -> np.ndarray:
        """The inputs with zeros after a row's end; in `inputs` stand random numbers there."""
        return np.where(self.mask[:, :, None], self["inputs"], 0)

    @property
    def mask(self) -> np.ndarray:
        """`(B, T)`, True at the steps of a row."""
        return np.arange(self["inputs"].shape[1]) < self.lengths[:, None]

    @property
    def layers(self) -> list[list[Weights]]:
        """The weights of each layer and direction."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        layers = []
        for layer in range(self.num_layers):
            directions = []
            for suffix in ("", "_reverse")[: self.num_directions]:
                keys = [f"{name}_l{layer}{suffix}" for name in names]
                directions.append(Weights(*(self[key] for key in keys if key in self)))
            layers.append(directions)
        return layers

    @property
    def state(self) -> list[np.ndarray]:
        """`h_0`, and of an LSTM `c_0`, each `(L*D, B, ...)`; empty where rows start from zero."""
        return [self[name] for name in ("h_0", "c_0") if name in self]

    def start(self, number: int) -> list[np.ndarray]:
        """`h`, and of an LSTM `c`, each `(B, H)`, from which a layer and direction starts."""
        if self.state:
            return [part[number] for part in self.state]
        zeros = np.zeros((len(self.lengths), self.hidden_size), np.float32)
        return [zeros, zeros] if self.cell == "LSTM" else [zeros]

    def refuse(self, reasons: Mapping[str, Any]) -> None:
        """Says what a library can't compute, as in `case.refuse({"projections": case.proj_size})`.

        Raises:
            NotImplementedError: with the first reason whose value is true.
        """
        for reason, is_true in reasons.items():
            if is_true:
                raise NotImplementedError(reason)


def as_state(parts: Iterable[Any]) -> Any:
    """The state as most libraries take it: `(h, c)` of an LSTM, `h` of another cell, or None."""
    state = tuple(parts)
    if len(state) == 1:
        return state[0]
    return state or None


def results(output: Any, h_n: Any, c_n: Any = None) -> dict[str, Any]:
    """What a client returns: `output` `(B, T, D*H)`, and `h_n` and `c_n` `(L*D, B, H)`."""
    arrays = {"output": output, "h_n": h_n}
    if c_n is not None:
        arrays["c_n"] = c_n
    return arrays


def last_steps(steps: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`(B, T, H) -> (B, H)`: each row's last step."""
    return np.asarray(steps)[np.arange(len(lengths)), lengths - 1]


@dataclass(frozen=True)
class Pieces:
    """The rows of a case, cut where their state is reset: a piece is a row of its own."""

    case: Case
    # Of each piece: its row in the whole case, its first step, and the step after its last one.
    places: list[tuple[int, int, int]]

    @classmethod
    def of(cls, whole: Case) -> Pieces:
        places = []
        for row, (length, resets) in enumerate(zip(whole.lengths, whole["resets"], strict=True)):
            bounds = sorted({0, int(length), *np.flatnonzero(resets).tolist()})
            places += [(row, first, end) for first, end in pairwise(bounds)]
        # Behind a piece stand the other steps of its row, as padding that must not count.
        inputs = [np.roll(whole["inputs"][row], -first, axis=0) for row, first, _ in places]
        lengths = [end - first for _, first, end in places]
        arrays = {**whole.arrays, "inputs": np.stack(inputs), "lengths": np.array(lengths)}
        del arrays["resets"]
        for name in ("h_0", "c_0"):
            if name in whole:
                arrays[name] = whole[name][:, [row for row, _, _ in places]]
                for piece, (row, first, _) in enumerate(places):
                    if first or whole["resets"][row, 0]:
                        arrays[name][:, piece] = 0
        return cls(replace(whole, arrays=arrays), places)

    def joined(
        self, arrays: Mapping[str, Any], expected: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The results of the pieces as those of whole rows. A row's final state is that of its last
        piece; gradients are left out, as those of pieces are others."""
        joined = {name: np.zeros(expected[name].shape) for name in arrays if name in RESULTS}
        for piece, (row, first, end) in enumerate(self.places):
            for name, array in joined.items():
                part = np.asarray(arrays[name])
                if name == "output":
                    array[row, first:end] = part[piece, : end - first]
                else:
                    array[:, row] = part[:, piece]
        return joined


def cases(
    vectors: Mapping[str, np.ndarray], variant: str, device: str
) -> Iterator[tuple[Case, Any]]:
    """Each case, and what a right client gives for it."""
    arrays_by_case: dict[str, dict[str, np.ndarray]] = {}
    for key in vectors:
        case, _, name = key.partition("/")
        arrays_by_case.setdefault(case, {})[name] = vectors[key]
    for case, arrays in arrays_by_case.items():
        given = {}
        expected = {}
        for name, array in arrays.items():
            if name in RESULTS or name.startswith("grad/"):
                expected[name] = array
            else:
                given[name] = array.astype(np.float32) if array.dtype == np.float64 else array
        yield Case(case, given, variant, device), expected


def measured(run: Run, case: Case, expected: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How far a client is from what it should give for a case.

    Returns:
        `difference`, the largest one, `array`, where it is, and if it isn't rounding `first_wrong`;
        or `impossible`, which says why the library can't compute the case; or `error`.
    """
    facts: dict[str, Any] = {"case": case.name}
    try:
        differences = worst_differences(run, case, expected)
    except NotImplementedError as reason:
        return facts | {"impossible": str(reason)}
    except Exception as error:  # noqa: BLE001 what a library raises is a result, too
        lines = str(error).strip().splitlines() or [""]
        return facts | {"error": f"{type(error).__name__}: {lines[-1]}"[:200]}
    largest = {name: float(difference.max()) for name, difference in differences.items()}
    # nan is the largest one, and never rounding.
    array = max(largest, key=lambda name: np.nan_to_num(largest[name], nan=np.inf))
    facts |= {"difference": largest[array], "array": array}
    facts["gradients"] = any(name.startswith("grad/") for name in largest)
    if not largest[array] <= LARGEST_ROUNDING:
        facts["first_wrong"] = first_wrong(differences, case)
    return facts


def worst_differences(
    run: Run, case: Case, expected: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The differences of each array that a client gave; the largest ones, if it gave a list of
    results, as of several runtimes. Where states are reset inside a row, it gets pieces of rows."""
    pieces = Pieces.of(case) if "resets" in case else None
    returned = run(pieces.case if pieces else case)
    alternatives = returned if isinstance(returned, list) else [returned]
    worst: dict[str, np.ndarray] = {}
    for arrays in alternatives:
        whole_rows = pieces.joined(arrays, expected) if pieces else arrays
        for name, difference in compared(whole_rows, case, expected).items():
            worst[name] = np.maximum(worst.get(name, 0), difference)
    return worst


def compared(
    arrays: Mapping[str, Any], case: Case, expected: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The differences of each array. Those of gradients are relative to the largest one of their
    array, if it is above 1; what a client has in padding doesn't count.

    Raises:
        ValueError: if a result is missing, or has another shape.
    """
    wanted = [name for name in RESULTS if name in expected]
    gradients = [name for name in arrays if name.startswith("grad/")]
    differences = {}
    for name in (*wanted, *gradients):
        if name not in arrays:
            raise ValueError(f"no {name}")
        array = np.asarray(arrays[name], dtype=np.float64)
        if array.shape != expected[name].shape:
            raise ValueError(f"{name} is {array.shape}, not {expected[name].shape}")
        difference = np.abs(array - expected[name])
        if name == "output":
            difference = np.where(case.mask[:, :, None], difference, 0)
        if name in gradients:
            difference /= max(1, np.abs(expected[name]).max())
        differences[name] = difference
    return differences


def first_wrong(differences: Mapping[str, np.ndarray], case: Case) -> str:
    """Where a case begins to be wrong, as its network reads: the first step of `output` in any row,
    for the backward half counted from the row's end; or if `output` is right, another array."""
    output = differences["output"]
    is_wrong = ~(output <= LARGEST_ROUNDING)
    halves = np.split(is_wrong, case.num_directions, axis=2)
    wrong_steps = []
    for direction, half in zip(("", " backward"), halves, strict=False):
        for row, step in np.argwhere(half.any(axis=2)).tolist():
            steps_before = case.lengths[row] - 1 - step if direction else step
            wrong_steps.append((int(steps_before), row, direction))
    if wrong_steps:
        step, row, direction = min(wrong_steps)
        return f"step {step}{direction}, row {row}"
    for name, difference in differences.items():
        is_wrong = ~(difference <= LARGEST_ROUNDING)
        if is_wrong.any():
            if name in RESULTS:
                layer, row, _ = np.argwhere(is_wrong)[0].tolist()
                return f"{name} of row {row}, layer {layer // case.num_directions}"
            return name
    raise AssertionError("a case without a difference was called wrong")


def main() -> None:
    client, variant, device, vectors, measurements = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parent))
    with Path(measurements).open("w", encoding="utf-8", buffering=1) as file:

        def write(facts: dict[str, Any]) -> None:
            file.write(json.dumps(facts) + "\n")

        names = runpy.run_path(client)
        for case, expected in cases(np.load(vectors), variant, device):
            write({"begins": case.name})
            write(measured(names["run"], case, expected))
        device_of_library = names.get("device")
        if device_of_library:
            write({"device": device_of_library()})


if __name__ == "__main__":
    main()
