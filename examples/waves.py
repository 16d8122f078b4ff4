"""Your own data: noisy sine waves of different lengths, each with its frequency as the target.

python scripts/train.py --config-dir examples/configs model=example_regression data=example_waves
"""

from collections.abc import Mapping

import numpy as np

from seqmodels.data import SPLITS, Examples, SequenceDataModule, Series, Values


class Waves(SequenceDataModule):
    """Makes the waves on the fly; the frequency is in cycles per 100 steps."""

    def __init__(self, size: int = 500, noise: float = 0.1, **options):
        super().__init__(Series(), Values(["frequency"]), **options)
        self.size, self.noise = size, noise

    def read(self) -> Mapping[str, Examples]:
        random = np.random.default_rng(self.split_seed)
        return {split: self._waves(random, split) for split in SPLITS}

    def _waves(self, random: np.random.Generator, split: str) -> Examples:
        waves, frequencies = [], random.uniform(2, 10, self.size)
        for frequency in frequencies:
            steps = np.arange(random.integers(20, 60))
            wave = np.sin(2 * np.pi * frequency * steps / 100 + random.uniform(0, 2 * np.pi))
            waves.append((wave + self.noise * random.normal(size=len(steps)))[:, None])  # (T, 1)
        return Examples(waves, frequencies.tolist(), f"waves, {split}")
