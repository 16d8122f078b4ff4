"""Tables of series to forecast, as others write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqmodels.data.tables import Tables
from seqmodels.errors import UserError
from seqmodels.tasks.forecasting import Windows
from seqmodels.tasks.forecasting.series import read_series


def test_forecasts_read_files_in_the_same_way(tmp_path: Path) -> None:
    kwh = [f"{hour % 24},5" if hour % 50 else "-99" for hour in range(400)]
    text = "kwh;\n" + "".join(f"{value};\n" for value in kwh)
    path = str(tmp_path / "a.csv")
    Path(path).write_text(text)
    options: dict[str, Any] = {"separator": ";", "decimal": ",", "missing": "last"}
    data = Windows(path, "kwh", horizon=2, window=4, na_values=[-99], **options)
    data.setup()
    assert (~data.series[0].is_known).sum() == 8
    assert "8 of 400 values are missing" in data.notes[0]
    with pytest.raises(UserError, match="is separated by ';', not by ',': set 'data.separator"):
        Windows(path, "kwh", horizon=2, window=4).setup()


def test_decimal_commas_and_values_that_stand_for_nothing_are_read(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("t;kwh\n" + "".join(f"01.0{d}.24;{d},5\n" for d in range(1, 9)))
    [series] = read_series(
        str(tmp_path / "b.csv"), {"kwh": "data.target"}, tables=Tables(separator=";", decimal=",")
    )
    assert series.values[:, 0].tolist() == [day + 0.5 for day in range(1, 9)]


def test_numbers_that_may_stand_for_nothing_are_said() -> None:
    random = np.random.default_rng(0)
    pressure = random.uniform(850, 1020, 400)
    pressure[random.random(400) < 0.3] = 0
    windows = Windows(pd.DataFrame({"pressure": pressure}), "pressure", horizon=2, window=4)
    windows.setup()
    assert "of pressure are 0, and all others lie between 85" in windows.notes[0]
    with pytest.raises(UserError, match="data.na_values: data.file in memory has no column 'z'"):
        Windows(pd.DataFrame({"x": pressure}), "x", na_values={"z": 0}).setup()
