"""Files of the UEA/UCR archive."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

import numpy as np

from seqmodels.errors import UserError, refusing, shown
from seqmodels.files import read_lines


def has_numbers(path: str) -> bool:
    """Whether the header of a `.ts` file says so."""
    lines = (line.strip().lower() for line in read_lines(path))
    header = takewhile(lambda line: line != "@data", lines)
    return any(line.split() == ["@targetlabel", "true"] for line in header)


def rows_of_ts(path: str) -> Iterator[tuple[np.ndarray, str | None]]:
    """The series `(T, F)` and label of each line of a `.ts` file, as it spells them; some channels
    of a series may be shorter. Of a file without labels, None. Raises a `UserError` for a file with
    time stamps or without `@data`, or a line that is not a series."""
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
                if "_" in (all_of := ":".join(channels)) or not all_of.isascii():
                    raise ValueError(f"{shown(repr(all_of))} is no number")  # as `as_number` says
                values = [[*map(float, x.replace("?", "nan").split(","))] for x in channels]
            array = np.full((max(map(len, values)), len(values)), np.nan)
            for channel, each in enumerate(values):
                array[: len(each), channel] = each
            yield array, label.strip() if labelled else None
    if not inside:
        raise UserError(f"{path} is not a .ts file: it has no line @data")
