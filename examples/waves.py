"""Your own data: noisy sine waves of different lengths, each with its frequency as the target.

train.py --config-dir examples/configs experiment=series_regression data=example_waves
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from seqmodels.data import Examples, SequenceDataModule, Series, Values


class Waves(SequenceDataModule):
    """Makes the waves on the fly; the frequency is in cycles per 100 steps. Each is of one of ten
    makers, none of whom stands in two splits."""

    def __init__(self, size: int = 1000, noise: float = 0.1, stack=1, scale="split", **options):
        super().__init__(Series(stack=stack, scale=scale), Values(["frequency"]), **options)
        self.size = size
        self.noise = noise

    def read(self) -> Mapping[str, Examples]:
        """The splits. Those that you leave out are cut from `train`: here, by whole groups."""
        random = np.random.default_rng(self.split_seed)
        frequencies = random.uniform(2, 10, self.size).tolist()
        waves = []
        for frequency in frequencies:
            steps = np.arange(random.integers(20, 60))
            phase = random.uniform(0, 2 * np.pi)
            wave = np.sin(2 * np.pi * frequency * steps / 100 + phase)
            wave += self.noise * random.normal(size=len(steps))
            waves.append(wave[:, None])  # (T, 1)
        makers = [f"maker {number % 10}" for number in range(self.size)]
        return {"train": Examples(waves, frequencies, "waves", {"group": makers})}

    def read_file(self, path: str) -> Iterator[tuple[np.ndarray, float | None]]:
        """For `predict.py` and `evaluate.py`: in each line a frequency, or nothing, and a wave."""
        with Path(path).open(newline="", encoding="utf-8") as file:
            for first_cell, *cells in csv.reader(file):
                wave = np.array(cells, dtype=float)[:, None]
                frequency = float(first_cell) if first_cell else None
                yield wave, frequency
