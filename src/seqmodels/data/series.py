"""Time series of the UEA/UCR archive, loaded by name with sktime, which bundles some of them."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from seqmodels.arguments import Name
from seqmodels.data.examples import Split
from seqmodels.data.series_table import SeriesTable
from seqmodels.errors import UserError, unusable


class UEA(SeriesTable):
    """A data set of the UEA/UCR archive (https://timeseriesclassification.com).

    The archive has a training and a test split; validation is cut from training. Its files say
    whether they have a class for each series (`@classLabel`) or a number (`@targetLabel`).

    Args:
        name: as the archive spells it. Data sets that sktime does not bundle are downloaded once.
        options: `stack`, `missing`, `scale` and the other arguments of `SeriesTable`.
    """

    def __init__(self, name: Name, **options: Any) -> None:
        if not re.fullmatch(r"\w[\w-]*", name):
            raise UserError(f"data.name is {name!r}: it must be a name, such as JapaneseVowels")
        super().__init__(**options)
        self.dataset_name = name

    @property
    def title(self) -> str:
        return self.dataset_name

    def split_paths(self) -> dict[Split, str]:
        name = self.dataset_name
        return {"train": _in_archive(name, "train"), "test": _in_archive(name, "test")}


def _in_archive(name: str, split: Split) -> str:
    """The file that sktime has of a split, or downloads."""
    root = Path(str(distribution("sktime").locate_file("sktime")), "datasets")
    file = Path(name, f"{name}_{split.upper()}.ts")
    paths = [root / "data" / file, root / "local_data" / file]  # bundled, downloaded
    known = "such as JapaneseVowels, PLAID or BasicMotions"
    with unusable(f"data.name={name} is neither in sktime nor in its archive: choose one, {known}"):
        if not any(path.is_file() for path in paths):
            from sktime.datasets import load_UCR_UEA_dataset

            load_UCR_UEA_dataset(name, split=split)
        return str(next(path for path in paths if path.is_file()))
