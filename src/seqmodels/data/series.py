"""Time series of the UEA/UCR archive, loaded by name with sktime, which bundles some of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from importlib.metadata import distribution
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from seqmodels.arguments import Name
from seqmodels.data.examples import Examples
from seqmodels.data.module import Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.series_inputs import Missing, Scale, Series, Stack
from seqmodels.data.tables import AS_TEXT, as_text, plain
from seqmodels.data.targets import Classes, TargetEncoder, Values
from seqmodels.errors import UserError, one_line, refusing
from seqmodels.files import read_lines

IN_ARCHIVE: tuple[Split, ...] = ("train", "test")  # of the archive


class UEA(SequenceDataModule):
    """A data set of the UEA/UCR archive (https://timeseriesclassification.com).

    The archive has a training and a test split; validation is cut from training. Its files say
    whether they have a class for each series (`@classLabel`) or a number (`@targetLabel`).

    Args:
        name: as the archive spells it. Data sets that sktime does not bundle are downloaded once.
        stack, missing, scale: how to encode series; see `Series`.
        folder: where your own files lie, as `name/name_TRAIN.ts` and `name/name_TEST.ts`; None: a
            data set of the archive.
        options: `targets`, `batch_size` and the other arguments of `SequenceDataModule`.
    """

    def __init__(
        self,
        name: Name,
        *,
        stack: Stack = 1,
        missing: Missing = "error",
        scale: Scale = "split",
        folder: Name | None = None,
        **options: Any,
    ) -> None:
        if not re.fullmatch(r"\w[\w-]*", name):
            raise UserError(f"data.name is {name!r}: it must be a name, such as JapaneseVowels")
        super().__init__(Series(stack=stack, missing=missing, scale=scale), **options)
        self.dataset_name, self.folder = name, folder

    @property
    def title(self) -> str:
        return self.dataset_name

    @cached_property
    def targets(self) -> TargetEncoder:
        return Values() if _has_numbers(self._path("train")) else Classes()

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        self.targets = Values() if "values" in spec else Classes()  # without the files
        super().use_spec(spec)

    def _path(self, split: str) -> str:
        name = self.dataset_name
        if self.folder is None:
            return _in_archive(name, split)
        return str(Path(self.folder, name, f"{name}_{split.upper()}.ts"))

    def read(self) -> Mapping[Split, Examples]:
        if self.folder is None:
            return {split: _archived(self.dataset_name, split) for split in IN_ARCHIVE}
        paths = {split: self._path(split) for split in IN_ARCHIVE}
        return {split: Examples.of(_rows_of_ts(path), path) for split, path in paths.items()}

    def read_file(self, path: str) -> Iterator[tuple[Any, str | None]]:
        """The series `(T, F)` and label of each line of a `.ts` file or of JSON Lines.

        A line of JSON is a list of steps, `[[step 1 channel 1, ...], ...]`, or an object with such
        a list as `series` and, if you want, a `label`.

        Raises:
            UserError: if a line of the file is not a series.
        """
        if Path(path).suffix.lower() == ".ts":
            yield from _rows_of_ts(path)
            return
        for number, line in enumerate(read_lines(path), start=1):
            where = f"{path}: line {number}"
            with refusing(f"{where} is not JSON", ValueError, RecursionError):
                value = AS_TEXT.decode(line)
            row = value if isinstance(value, dict) else {"series": value}
            yield _series(row.get("series", ()), where), as_text(row.get("label"))


@lru_cache(maxsize=len(IN_ARCHIVE))  # parsing takes longer than small trainings
def _archived(name: str, split: str) -> Examples:
    rows = [*_rows_of_ts(_in_archive(name, split))]
    for array, _ in rows:
        array.flags.writeable = False  # all runs of this process share them
    return Examples.of(rows, f"{name} {split}")


def _in_archive(name: str, split: str) -> str:
    """The file that sktime has of a split, or downloads."""
    root = Path(str(distribution("sktime").locate_file("sktime")), "datasets")
    file = Path(name, f"{name}_{split.upper()}.ts")
    paths = [root / "data" / file, root / "local_data" / file]  # bundled, downloaded
    try:
        if not any(path.is_file() for path in paths):
            from sktime.datasets import load_UCR_UEA_dataset

            load_UCR_UEA_dataset(name, split=split)
        return str(next(path for path in paths if path.is_file()))
    except Exception as error:  # sktime raises errors of many kinds
        raise UserError(
            f"data.name={name}: the data set is neither bundled with sktime nor available from the "
            f"archive ({type(error).__name__}: {one_line(error)}); check its spelling and the "
            "network, or choose JapaneseVowels, PLAID, BasicMotions, ..."
        ) from error


def _has_numbers(path: str) -> bool:
    """Whether the header of a `.ts` file says so."""
    lines = (line.strip().lower() for line in read_lines(path))
    header = takewhile(lambda line: line != "@data", lines)
    return any(line.split() == ["@targetlabel", "true"] for line in header)


def _rows_of_ts(path: str) -> Iterator[tuple[np.ndarray, str | None]]:
    """The series `(T, F)` and label of each line of a `.ts` file, as it spells them; some channels
    of a series may be shorter. Of a file without labels, None.

    Raises:
        UserError: for a file with time stamps or without `@data`, or a line that is not a series.
    """
    tags, inside = set[str](), False
    for number, line in enumerate(map(str.strip, read_lines(path)), start=1):
        if not inside:
            tags.add(" ".join(line.lower().split()))
            inside = "@data" in tags
        elif line and not line.startswith("#"):
            if "@timestamps true" in tags:
                raise UserError(f"{path} has time stamps: write the values alone, step by step")
            labelled = not tags & {"@classlabel false", "@targetlabel false"}
            *channels, label = line.split(":") if labelled else (*line.split(":"), "")
            if not channels or "," in label:
                raise UserError(
                    f"{path}: line {number} has no label after its last channel; add one"
                )
            with refusing(f"{path}: line {number} is not a series", ValueError):
                values = [
                    [*map(float, plain(each).replace("?", "nan").split(","))] for each in channels
                ]
            array = np.full((max(map(len, values)), len(values)), np.nan)
            for channel, each in enumerate(values):
                array[: len(each), channel] = each
            yield array, label.strip() if labelled else None
    if not inside:
        raise UserError(f"{path} is not a .ts file: it has no line @data")


def _series(steps: Any, where: str) -> np.ndarray:
    # steps of JSON, where a number is the text that stands in the file, and a missing one None
    what = "is no series, such as [[0.1, 0.2], [0.3, 0.4]] for two steps of two channels"
    with refusing(f"{where} {what}", TypeError, ValueError):
        plain(str(steps))
        series = np.array(as_text(steps), float)
        if series.ndim != 2:
            raise ValueError(f"it has shape {series.shape}")
    return series
