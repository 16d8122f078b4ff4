"""Data of which training sees a fifth; validation and test stay as they are."""

from collections.abc import Mapping
from typing import Any

from seqmodels.data import UEA, SequenceDataModule, SeriesTable, Text
from seqmodels.data.examples import Examples, by_split, cut_off


class Fifth(SequenceDataModule):
    def read(self) -> Mapping[Any, Examples]:
        found: dict[Any, Examples] = {**by_split(super().read())}
        for split, fraction in {**self.fractions, "rest": 0.8}.items():
            if split not in found:
                train = found["train"]
                cut = (fraction, self.split_seed, split, self.targets.strata(train.targets))
                found["train"], found[split] = cut_off(train, *cut)
        del found["rest"]
        return found


class FifthOfUEA(Fifth, UEA):
    pass


class FifthOfSeries(Fifth, SeriesTable):
    pass


class FifthOfTexts(Fifth, Text):
    pass
