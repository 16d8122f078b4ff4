"""What a file is, and the command that trains on it."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqmodels import compose, train
from seqmodels.errors import UserError
from seqmodels.launch.composed import SHIPPED
from seqmodels.launch.looking import report
from tests.conftest import Refused, Script
from tests.shipped import skip_where_deleted

RANDOM = np.random.default_rng(0)
QUICK = ("trainer=cpu", "trainer.max_epochs=1", "trainer.max_steps=2", "baseline=false")
SMALL = ("callbacks.dataflow=null", "callbacks.pictures=null", "model.encoder.hidden_size=4")


def steps(name: str, count: int, row: Callable[[int, int], dict[str, Any]]) -> pd.DataFrame:
    """`count` series of 3 to 7 steps; `row` gives what a step of a series has."""
    rows = [
        {name: f"{name}{number}", **row(number, step)}
        for number in range(count)
        for step in range(3 + number % 5)
    ]
    return pd.DataFrame(rows)


def trips() -> pd.DataFrame:
    return steps(
        "trip",
        30,
        lambda n, t: {
            "time": t * 0.5,
            "ax": RANDOM.normal(),
            "activity": ["run", "sit"][n % 2],
            "user": f"ann{n % 6}",
        },
    )


def nights() -> pd.DataFrame:
    def row(number: int, step: int) -> dict[str, Any]:
        eeg = RANDOM.normal() if step else None
        return {"epoch": step * 30, "eeg": eeg, "stage": ["wake", "rem"][step % 2]}

    return steps("night", 30, row)


def machines() -> pd.DataFrame:
    return steps("unit", 30, lambda n, t: {"cycle": t, "temp": RANDOM.normal(), "rul": 9.5 - t})


def engines() -> pd.DataFrame:
    return steps("engine", 30, lambda n, t: {"temp": RANDOM.normal(), "remaining_life": n + 0.5})


def energy() -> pd.DataFrame:
    hours = pd.date_range("2024-01-01", periods=1200, freq="h")
    sites = [pd.DataFrame({"datetime": hours, "site": site}) for site in ("north", "south")]
    table = pd.concat(sites)
    return table.assign(kwh=RANDOM.normal(size=len(table)), temp=RANDOM.normal(size=len(table)))


def wide() -> pd.DataFrame:
    table = pd.DataFrame(RANDOM.normal(size=(40, 12)), columns=[f"t{n}" for n in range(12)])
    return table.assign(id=[f"w{n}" for n in range(40)], label=["up", "down"] * 20)


def german() -> pd.DataFrame:
    return steps(
        "Prüfstand",
        30,
        lambda n, t: {
            "Zeit": t * 0.5,
            "Temperatur [°C]": round(RANDOM.normal(), 2),
            "Befund": ["gut", "schlecht"][n % 2],
        },
    )


def logs() -> pd.DataFrame:
    rows = [{"message": f"disk {n} is {n % 3}", "level": ["ok", "bad"][n % 2]} for n in range(60)]
    return pd.DataFrame(rows)


def stars() -> pd.DataFrame:
    return pd.DataFrame(
        {"text": [f"a film {n}" for n in range(60)], "stars": RANDOM.normal(size=60)}
    )


def names() -> pd.DataFrame:
    letters = ["".join(RANDOM.choice([*"abcdefgh"], 6)) for _ in range(60)]
    return pd.DataFrame({"name": letters, "country": ["x", "y"] * 30})


def pairs() -> pd.DataFrame:
    return pd.DataFrame(
        {"source": [f"s {n}" for n in range(60)], "target": [f"t {n} u" for n in range(60)]}
    )


def lists() -> pd.DataFrame:
    rows = [{"x": RANDOM.normal(size=3 + n % 4).tolist(), "label": "ab"[n % 2]} for n in range(40)]
    return pd.DataFrame(rows)


def two_rates() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"s{n}" for n in range(40)],
            "acc": [RANDOM.normal(size=9).tolist() for _ in range(40)],
            "hr": [RANDOM.normal(size=2).tolist() for _ in range(40)],
            "label": ["a", "b"] * 20,
        }
    )


def tagged_lists() -> pd.DataFrame:
    return pd.DataFrame(
        {"words": [["the", f"cat{n}"] for n in range(40)], "tags": [["D", "N"]] * 40}
    )


def two_lists_with_gaps() -> pd.DataFrame:
    table = lists()
    return table.assign(y=[[None, *values[1:]] for values in table.x])


def lists_with_numbers_of_tags() -> pd.DataFrame:
    return pd.DataFrame(
        {"tokens": [["7", f"cat{n}"] for n in range(40)], "ner_tags": [[0, 1]] * 40}
    )


GERMAN = {"sep": ";", "decimal": ",", "encoding": "cp1252", "lineterminator": "\r\n"}
TABLES: dict[str, tuple[Callable[[], pd.DataFrame], str, str]] = {
    "trips.csv": (
        trips,
        "a long table",
        "experiment=series_classification data=series data.train=trips.csv data.series=trip "
        "data.time=time data.group=user data.label_column=activity",
    ),
    "nights.csv": (
        nights,
        "a long table",
        "experiment=series_tagging data=series data.train=nights.csv data.series=night "
        "data.time=epoch data.missing=mark data.label_column=stage",
    ),
    "machines.parquet": (
        machines,
        "a long table",
        "model=regressor model.head=every_step data=series data.train=machines.parquet "
        "data.series=unit data.time=cycle data.value_columns=[rul]",
    ),
    "engines.csv": (
        engines,
        "a long table",
        "experiment=series_regression data=series data.train=engines.csv data.series=engine "
        "data.value_columns=[remaining_life]",
    ),
    "energy.csv": (
        energy,
        "2 series (site), in equal steps of datetime",
        "model=forecaster data=windows data.file=energy.csv data.target=kwh data.time=datetime "
        "data.series=site",
    ),
    "wide.csv": (
        wide,
        "a wide table",
        "experiment=series_classification data=series data.train=wide.csv data.steps=t "
        "data.series=id",
    ),
    "german.csv": (
        german,
        "a long table",
        "experiment=series_classification data=series data.train=german.csv data.encoding=cp1252 "
        'data.separator=";" data.decimal="," data.series="Prüfstand" data.time=Zeit '
        "data.label_column=Befund",
    ),
    "logs.csv": (
        logs,
        "texts with labels",
        "experiment=text_classification data.train=logs.csv data.text_column=message "
        "data.label_column=level",
    ),
    "names.csv": (
        names,
        "texts with labels",
        "experiment=char_classification data.train=names.csv data.text_column=name "
        "data.label_column=country",
    ),
    "stars.csv": (
        stars,
        "texts with numbers",
        "model=regressor data=text data.train=stars.csv data.value_columns=[stars]",
    ),
    "pairs.tsv": (pairs, "pairs of texts", "experiment=seq2seq data=pairs data.train=pairs.tsv"),
    "lists.jsonl": (
        lists,
        "a row for each series, with lists",
        "experiment=series_classification data=series data.train=lists.jsonl",
    ),
    "two_lists.jsonl": (
        two_lists_with_gaps,
        "a row for each series, with lists",
        "experiment=series_classification data=series data.train=two_lists.jsonl data.missing=mark",
    ),
    "numbers_of_tags.parquet": (
        lists_with_numbers_of_tags,
        "texts with a tag for each word",
        "experiment=tagging data.train=numbers_of_tags.parquet",
    ),
    "two_rates.parquet": (
        two_rates,
        "hr have other lengths than acc",
        "experiment=series_classification data=series data.train=two_rates.parquet "
        "data.inputs=[acc] data.series=id",
    ),
    "tags.jsonl": (
        tagged_lists,
        "texts with a tag for each word",
        "experiment=tagging data.train=tags.jsonl data.token_column=words",
    ),
}


def write(name: str, frame: pd.DataFrame) -> None:
    if name.endswith(".parquet"):
        frame.to_parquet(name)
    elif name.endswith(".jsonl"):
        frame.to_json(name, orient="records", lines=True)
    else:
        separator = {"sep": "\t"} if name.endswith(".tsv") else {}
        frame.to_csv(name, index=False, **(GERMAN if name == "german.csv" else separator))


def commands(lines: list[str]) -> list[list[str]]:
    """The words of each command, as a shell would read them."""
    prefix = "seqmodels train "
    return [shlex.split(line)[2:] for line in lines if line.startswith(prefix)]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_called_what_it_is_and_its_first_command_trains(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, what, words = TABLES[name]
    skip_where_deleted(words)
    monkeypatch.chdir(tmp_path)
    write(name, make())
    lines = [*report([name])]
    assert what in lines[0]
    first, *_ = commands(lines)
    assert first == words.split(" ")
    folder = "folder=run"
    if name not in ("pairs.tsv", "energy.csv"):  # these take seconds
        assert train(compose(*first, *QUICK, *SMALL, folder))["status"] == "completed"


def test_regular_series_that_are_too_short_to_forecast_are_a_long_table(tmp_path: Path) -> None:
    skip_where_deleted("model=regressor")
    hours = pd.date_range("2024-01-01", periods=24, freq="h")
    sites = [pd.DataFrame({"datetime": hours, "site": f"site{n}"}) for n in range(10)]
    table = pd.concat(sites).assign(kwh=RANDOM.normal(size=240), temp=RANDOM.normal(size=240))
    table.to_csv(tmp_path / "days.csv", index=False)
    summary, *_ = report([str(tmp_path / "days.csv")])
    assert "a long table: 240 rows, each a step of one of 10 series (site)" in summary


def test_series_of_one_length_are_not_of_that_length_to_itself(tmp_path: Path) -> None:
    number = np.repeat(np.arange(20), 1_200)
    names, activities = [f"trip{n}" for n in number], np.array(["run", "sit"])[number % 2]
    table = pd.DataFrame({"trip": names, "ax": RANDOM.normal(size=24_000), "activity": activities})
    table.to_csv(tmp_path / "a.csv", index=False)
    summary, *_ = report([str(tmp_path / "a.csv")])
    assert summary.endswith("each a step of one of 20 series (trip), of 1,200 steps")


def test_a_column_that_lacks_a_name_names_no_series(tmp_path: Path) -> None:
    table = trips()
    table.loc[0, "trip"] = None
    table.to_csv(tmp_path / "trips.csv", index=False)
    with pytest.raises(UserError, match="no column of .* names the series of each row"):
        [*report([str(tmp_path / "trips.csv")])]


def test_a_second_table_has_what_to_learn_and_texts_that_vary_are_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    events = steps(
        "user", 30, lambda n, t: {"hour": t, "event": "abc"[(n + t) % 3], "paid": 1.5 * t}
    )
    events.to_csv("events.csv", index=False)
    people = [{"user": f"user{n}", "churn": ["no", "yes"][n % 2]} for n in range(30)]
    pd.DataFrame(people).to_csv("churn.csv", index=False)
    for places in (["events.csv", "churn.csv"], ["churn.csv", "events.csv"]):
        [first] = commands([*report(places)])
        assert first == [
            "experiment=series_classification",
            "data=series",
            "data.train=events.csv",
            "data.series=user",
            "data.time=hour",
            "data.labels=churn.csv",
            "data.inputs=[event,paid]",
            "data.label_column=churn",
        ]


@pytest.mark.parametrize(
    ("label", "separator", "difference"), [("mild", ",", "separator"), ("müde", ";", "encoding")]
)
def test_two_tables_that_are_written_differently_are_refused(
    label: str, separator: str, difference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps_table = trips().drop(columns="activity").rename(columns={"ax": "Wärme"})
    steps_table.to_csv("trips.csv", index=False, **GERMAN)
    people = [{"trip": f"trip{n}", "label": ["gut", label][n % 2]} for n in range(30)]
    pd.DataFrame(people).to_csv("labels.csv", index=False, sep=separator)
    with pytest.raises(UserError, match=f"has another {difference} than .*: .* write them alike"):
        [*report(["trips.csv", "labels.csv"])]


def recordings(folder: Path, form: Mapping[str, Any]) -> None:
    for number in range(20):
        place = folder / ["afib", "normal"][number % 2]
        place.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame({"t": np.arange(5) / 250, "Wärme": RANDOM.normal(size=5).round(2)})
        table.to_csv(place / f"p{number}.csv", index=False, **form)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ({}, []),
        (GERMAN, ["data.encoding=cp1252", 'data.separator=";"', 'data.decimal=","']),
    ],
)
def test_a_folder_for_each_class_gets_the_lines_that_write_its_table(
    form: dict[str, str], options: list[str], script: Script, tmp_path: Path
) -> None:
    recordings(tmp_path / "ecg", form)
    done = script("look.py", "ecg")
    assert done.stdout.startswith("ecg: a folder of files for each of 2 classes: 20 series")
    lines = done.stdout.splitlines()
    first_line = lines.index("from pathlib import Path")
    python = "\n".join(lines[first_line : lines.index("", first_line)])
    exec(python.replace("Path('ecg')", f"Path({str(tmp_path / 'ecg')!r})"), {})
    again = script("look.py", "ecg").stdout
    assert "recordings: labels.jsonl names a file for each of 20 series" in again
    [first] = commands(again.splitlines())
    assert (
        first
        == commands(lines)[0]
        == [
            "experiment=series_classification",
            "data=series",
            "data.train=ecg/labels.jsonl",
            "data.files=file",
            *options,
            "data.time=t",
        ]
    )


def test_arrays_get_the_lines_that_write_their_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = {"X": RANDOM.normal(size=(40, 6, 2)), "y": ["a", "b"] * 20, "subject": [*range(8)] * 5}
    np.savez("arrays.npz", **{name: np.asarray(values) for name, values in arrays.items()})
    lines = [*report(["arrays.npz"])]
    python = "\n".join(lines[lines.index("import numpy, pandas") :]).partition("\n\nTo learn")[0]
    exec(python, {})
    first, *_ = commands(lines)
    assert "data.group=subject" in first and "data.label_column=y" in first
    assert train(compose(*first, *QUICK, *SMALL, "folder=run"))["examples"]["train"] > 20


@pytest.mark.parametrize("name", ["protein.csv", "german.csv", "protein.jsonl", "protein.json"])
def test_letters_with_tags_get_the_lines_that_write_their_lists(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_where_deleted("experiment=tagging")
    monkeypatch.chdir(tmp_path)
    lengths = RANDOM.integers(6, 12, 30)
    rows = [
        {
            "chain": "".join(RANDOM.choice([*"ACDEFGH"], n)),
            "fold": "".join(RANDOM.choice([*"HE"], n)),
        }
        for n in lengths
    ]
    table = pd.DataFrame(rows)
    if name.endswith(".csv"):
        table.to_csv(name, index=False, sep=";" if name == "german.csv" else ",")
    else:
        table.to_json(name, orient="records", lines=name.endswith(".jsonl"))
    lines = [*report([name])]
    assert "sequences of letters (chain) with a letter for each of them (fold)" in lines[0]
    python = "\n".join(lines[lines.index("import pandas") :]).partition("\n\nTo learn")[0]
    exec(python, {})
    [first] = commands(lines)
    assert train(compose(*first, *QUICK, *SMALL, "folder=run"))["status"] == "completed"


@pytest.mark.parametrize(
    ("content", "what", "words"),
    [
        ("the D\ncat N\n\n" * 20, "a word and its tag on each line", "experiment=tagging"),
        ("It was a dark night. " * 200, "plain text", "experiment=char_lm"),
        ("dark\nnight\n\n" * 20, "plain text", "experiment=char_lm"),  # words without tags
    ],
)
def test_files_without_columns(
    content: str, what: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_where_deleted(words)
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(content)
    lines = [*report(["a.txt"])]
    assert what in lines[0] and commands(lines) == [[words, "data.train=a.txt"]]


@pytest.mark.parametrize(
    ("separator", "options"),
    [(";", ['data.separator=";"', 'data.decimal=","']), (",", ['data.decimal=","'])],
)
def test_commas_in_names_and_in_quoted_numbers_separate_nothing(
    separator: str, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = trips().rename(columns={"ax": "speed, m/s"})
    table.to_csv("trips.csv", index=False, sep=separator, decimal=",")
    lines = [*report(["trips.csv"])]
    first, *_ = commands(lines)
    assert first[3 : 3 + len(options)] == options and "data.series=trip" in first
    assert "channels: speed, m/s" in "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "experiment"),
    [
        (
            "text\tlabel\n" + "Motor läuft gut\tgut\nMotor ist müde\tschlecht\n" * 20,
            "text_classification",
        ),
        ("Motor\tN\nläuft\tV\n\n" * 20, "tagging"),
    ],
)
def test_a_file_with_tabs_may_have_an_old_encoding(
    content: str, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_where_deleted(f"experiment={experiment}")
    monkeypatch.chdir(tmp_path)
    Path("a.tsv").write_text(content, encoding="cp1252")
    [first] = commands([*report(["a.tsv"])])
    assert first[0] == f"experiment={experiment}"
    assert first[1:] == ["data.train=a.tsv", "data.encoding=cp1252"]


def test_a_look_names_no_command_of_a_deleted_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_where_deleted("experiment=seq2seq model=regressor")
    monkeypatch.chdir(tmp_path)
    stars().assign(label=[1, 2, 3] * 20).to_csv("stars.csv", index=False)
    write("pairs.tsv", pairs())
    first_words = [words[0] for words in commands([*report(["stars.csv"])])]
    assert first_words == ["experiment=text_classification", "model=regressor"]
    shutil.copytree(SHIPPED, "configs")
    for name in ("experiment/seq2seq", "model/seq2seq", "model/regressor"):
        Path("configs", f"{name}.yaml").unlink()
    monkeypatch.setattr("seqmodels.launch.composed.SHIPPED", tmp_path / "configs")
    first_words = [words[0] for words in commands([*report(["stars.csv"])])]
    assert first_words == ["experiment=text_classification"]
    with pytest.raises(UserError, match="deleted the task that learns to write target for each"):
        [*report(["pairs.tsv"])]


def test_a_look_says_gaps_times_classes_and_what_is_left_out(
    script: Script, tmp_path: Path
) -> None:
    skip_where_deleted("experiment=series_tagging")
    frame = nights().assign(ward=lambda table: table.night.str[5:].astype(int) % 6, note="x y")
    frame.to_csv(tmp_path / "nights.csv", index=False)
    said = script("look.py", "nights.csv").stdout
    assert "gaps: eeg " in said and "times: a step each 30 (median)" in said
    assert "tags in training: wake (" in said and "channels: eeg" in said
    assert "whole numbers, the same at all steps of a series: name it in data.group" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("places", "line"),
    [
        ((), "name a file: python scripts/look.py my.csv"),
        (("gone.csv",), "gone.csv: no such file"),
        (("a.xyz",), "a.xyz: "),
        (("empty",), "empty: no table in it names its other files"),
        (("plain.csv",), "names the series of each row, or their times"),
        (("a.xyz", "plain.csv", "gone.csv"), "give one file, a table and a second one"),
        (("plain.csv", "./plain.csv"), "plain.csv is given twice"),
        (("none.npz",), "none.npz has no array: give series (N, T, C)"),
        (("number.npy",), "number.npy has x (): give series (N, T, C)"),
        (("steps.csv",), "steps.csv: a long table: 50 rows, each a step of one of 5 series"),
    ],
)
def test_what_nobody_can_train_on_is_one_line(
    places: tuple[str, ...], line: str, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.xyz").write_text("1")
    pd.DataFrame({"a": [1.5, 2.5, 2.5], "b": [1.0, 2.5, 0.5]}).to_csv(
        tmp_path / "plain.csv", index=False
    )
    np.savez(tmp_path / "none.npz")
    np.save(tmp_path / "number.npy", np.array(3.0))
    steps = pd.DataFrame({"series": np.repeat(range(5), 10), "t": [*range(10)] * 5})
    steps.to_csv(tmp_path / "steps.csv", index=False)
    assert line in refused("look.py", *places)
