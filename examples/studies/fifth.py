"""Data of which training sees a fifth; validation and test stay as they are."""

from collections.abc import Mapping
from typing import Any

from seqmodels.data import UEA, SequenceDataModule, SeriesTable, Text
from seqmodels.data.examples import Examples, by_split, cut_off


class Fifth(SequenceDataModule):
    def read(self) -> Mapping[Any, Examples]:
        splits: dict[Any, Examples] = {**by_split(super().read())}
        for split in (*self.fractions, "rest"):  # The rest is four fifths of the training.
            if split not in splits:
                train = splits["train"]
                fraction = 0.8 if split == "rest" else self.fraction_of(split, len(train))
                strata = self.targets.strata(train.targets)
                remaining, examples = cut_off(train, fraction, self.split_seed, split, strata)
                splits["train"] = remaining
                splits[split] = examples
        del splits["rest"]
        return splits


class FifthOfUEA(Fifth, UEA):
    pass


class FifthOfSeries(Fifth, SeriesTable):
    pass


class FifthOfTexts(Fifth, Text):
    pass
