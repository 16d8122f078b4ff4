"""Time series of the UEA/UCR archive, loaded by name with sktime, which bundles some of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from seqmodels.arguments import Count, Name, Passed
from seqmodels.data.examples import Examples
from seqmodels.data.formats import Number, read_json
from seqmodels.data.module import Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.series_inputs import Fold, Missing, Scale, Series
from seqmodels.data.tables import cell
from seqmodels.data.targets import Classes, TargetEncoder, Values
from seqmodels.errors import UserError, one_line
from seqmodels.files import existing_file, read_lines

log = logging.getLogger(__name__)

IN_ARCHIVE: tuple[Split, ...] = ("train", "test")  # of the archive
# the tags of a .ts file with labels and without time stamps
PLAIN = (
    "problemname .",
    "timestamps false$",
    "univariate (true|false)$",
    "classlabel true .|targetlabel true$",
)


class UEA(SequenceDataModule):
    """A data set of the UEA/UCR archive (https://timeseriesclassification.com).

    The archive has a training and a test split; validation is cut from training. Its files say
    whether they have a class for each series (`@classLabel`) or a number (`@targetLabel`).

    Args:
        name: as the archive spells it. Data sets that sktime does not bundle are downloaded once.
        downsample, fold, missing, scale, add_scale: how to encode series; see `Series`.
        folder: where to keep downloaded data sets; None means sktime's own folder.
        options: `targets`, `batch_size` and the other arguments of `SequenceDataModule`.
    """

    def __init__(
        self,
        name: Name,
        *,
        downsample: Count = 1,
        fold: Fold = 1,
        missing: Missing = "error",
        scale: Scale = "split",
        add_scale: bool = False,
        folder: Name | None = None,
        **options: Annotated[Any, Passed("inputs")],
    ) -> None:
        if not re.fullmatch(r"\w[\w-]*", name):
            raise UserError(f"data.name is {name!r}: it must be a name, such as JapaneseVowels")
        inputs = Series(
            downsample=downsample, fold=fold, missing=missing, scale=scale, add_scale=add_scale
        )
        super().__init__(inputs, **options)
        self.dataset_name, self.folder = name, folder

    @classmethod
    def from_stranger(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        kept, name = super().from_stranger(arguments), str(arguments.get("name"))
        folder = kept.get("folder")
        if folder is not None and not Path(str(folder), name, f"{name}_TRAIN.ts").is_file():
            log.warning(f"data.folder of the run folder is ignored: {folder} does not hold {name}")
            kept["folder"] = None
        return kept

    @property
    def title(self) -> str:
        return self.dataset_name

    @cached_property
    def targets(self) -> TargetEncoder:
        path = _file_of(self.dataset_name, "train", self.folder)
        if path is None:
            self.read()  # which downloads it
            path = _file_of(self.dataset_name, "train", self.folder)
        return Values() if path and _has_numbers(path) else Classes()

    def use_spec(self, spec: Mapping[str, Any]) -> None:
        self.targets = Values() if "values" in spec else Classes()  # without the files
        super().use_spec(spec)

    def read(self) -> Mapping[Split, Examples]:
        # files of a folder of yours may change between two runs of a notebook
        archived = _archived if self.folder is None else _archived.__wrapped__
        try:
            return {split: archived(self.dataset_name, split, self.folder) for split in IN_ARCHIVE}
        except Exception as error:  # sktime raises errors of many kinds
            raise UserError(
                f"data.name={self.dataset_name}: the data set is neither bundled with sktime "
                f"nor available from the archive ({type(error).__name__}: {one_line(error)}); "
                "check its spelling and the network, or choose JapaneseVowels, PLAID, "
                "BasicMotions, ..."
            ) from error

    def read_file(self, path: str) -> Iterator[tuple[Any, str | None]]:
        """The series `(T, F)` and label of each line of a `.ts` file or of JSON Lines.

        A line of JSON is a list of steps, `[[step 1 channel 1, ...], ...]`, or an object with such
        a list as `series` and, if you want, a `label`.

        Raises:
            UserError: if a line of the file is not a series.
        """
        if Path(path).suffix.lower() == ".ts":
            yield from _ts_file(existing_file(path))
            return
        for number, line in enumerate(read_lines(path), start=1):
            where = f"{path}: line {number}"
            value = read_json(line, where)
            row = value if isinstance(value, dict) else {"series": value}
            yield (
                _series(row.get("series", ()), where),
                cell(row.get("label"), path, "label", number),
            )


@lru_cache(maxsize=len(IN_ARCHIVE))  # parsing takes longer than small trainings
def _archived(name: str, split: str, folder: str | None) -> Examples:
    if (path := _file_of(name, split, folder)) is None:
        from sktime.datasets import load_UCR_UEA_dataset

        load_UCR_UEA_dataset(name, split=split, extract_path=folder)
        path = _file_of(name, split, folder)
    rows = [*_rows_of_ts(path)]  # type: ignore[arg-type]
    for array, _ in rows:
        array.flags.writeable = False  # all runs of this process share them
    return Examples.of(rows, f"{name} {split}")


def _file_of(name: str, split: str, folder: str | None) -> Path | None:
    """Where sktime finds a split of a data set; None before it is downloaded."""
    spec = find_spec("sktime")
    folders = [Path(folder)] if folder is not None else []
    for root in (spec.submodule_search_locations or ()) if spec and not folders else ():
        folders += [Path(root, "datasets", "data"), Path(root, "datasets", "local_data")]
    paths = (each / name / f"{name}_{split.upper()}.ts" for each in folders)
    return next((path for path in paths if path.is_file()), None)


def _has_numbers(path: Path) -> bool:
    """Whether the header of a `.ts` file says so."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        header = takewhile(lambda line: line != "@data", (line.strip().lower() for line in lines))
        return any(line.split() == ["@targetlabel", "true"] for line in header)


def _ts_file(path: str) -> Iterator[tuple[np.ndarray, str | None]]:
    try:
        rows = [*_rows_of_ts(Path(path))]
    except Exception as error:  # sktime raises errors of many kinds
        raise UserError(f"{path} is not a .ts file: {one_line(error)}") from error
    for number, (array, label) in enumerate(rows, start=1):
        if label and "," in label:  # the last channel was taken for the label
            raise UserError(f"{path}: series {number} has no label after its last channel; add one")
        yield array, label or None


def _rows_of_ts(path: Path) -> Iterator[tuple[np.ndarray, str | None]]:
    """The series `(T, F)` and label of each line; some channels of a series may be shorter."""
    rows: Any
    try:
        rows, labels = _without_time_stamps(path)
    except ValueError:  # so sktime reads it, or says what is wrong, which takes seconds to import
        from sktime.datasets import load_from_tsfile

        loaded = load_from_tsfile(str(path))
        table, labels = loaded if isinstance(loaded, tuple) else (loaded, [None] * len(loaded))
        rows = table.itertuples(index=False)
    for row, label in zip(rows, labels, strict=True):
        array = np.full((max(map(len, row)), len(row)), np.nan)
        for channel, values in enumerate(row):
            array[: len(values), channel] = values
        yield array, None if label is None else str(label)


def _without_time_stamps(path: Path) -> tuple[list[list[list[float]]], list[str]]:
    """The channels of each series, and the labels; a ValueError if the file has time stamps, no
    labels, or a mistake."""
    with path.open(encoding="utf-8") as file:
        lines = [line for raw in file if (line := raw.strip().lower())]
    start = lines.index("@data")
    tags, rows = lines[:start], [line.replace("?", "NaN").split(":") for line in lines[start + 1 :]]
    if len({len(row) for row in rows}) != 1 or not all(
        any(re.match(f"@({tag})", line) for line in tags) for tag in PLAIN
    ):
        raise ValueError(path)
    channels = [[[*map(float, part.split(","))] for part in row[:-1]] for row in rows]
    return channels, [row[-1].strip() for row in rows]


def _series(steps: Any, where: str) -> np.ndarray:
    # steps of JSON, where a number is the text that stands in the file, and a missing one None
    try:
        values = [[_number(value) for value in step] for step in steps]
        if len({len(step) for step in values}) != 1:
            raise ValueError("the steps are not equally long" if values else "there are no steps")
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{where}: not a series in JSON, such as [[0.1, 0.2], [0.3, 0.4]] for two steps of two "
            f"channels ({one_line(error)})"
        ) from error
    return np.array(values)


def _number(value: Any) -> float:
    if value is None:
        return float("nan")
    if not isinstance(value, Number):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
