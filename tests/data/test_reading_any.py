"""Any text in any format comes back; any bytes are read as they are, or refused in one line."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqmodels.data import Text
from seqmodels.data.tables import Inexact, Tables
from seqmodels.errors import UserError

Pairs = list[tuple[str, str]]

# ---------------------------------------------------------------- any text, in any format

ODD = [
    *("None", "nan", "NaN", "null", "NA", "true", "True", "007", "1", "1.0", "1e5", "-0", "0x1F"),
    *("2020-01-02", "2020-01-02T03:04:05Z", "12:30", "9007199254740993", "1" * 40, "1_000", "inf"),
    *('"', '""', "'", ",", ";", "a,b", 'say "so", then', "#", "\\", "\\n", "[PAD]", "{}", "[1, 2]"),
    *(
        " x",
        "x ",
        "a\tb",
        "a\nb",
        "a\r\nb",
        "a\rb",
        "x\x0b",
        "x\x0cy",
        "\x1cx",
        "x\x85y",
        "x\u2028y",
    ),
    *(
        "é",
        "e\u0301",
        "東京",
        "😀",
        "\ufeffx",
        "\u200bx",
        "ß",
        "İ",
        "\u202ex",
        "=1+1",
        "x" * 3_000,
    ),
]


def odd_text(chance: random.Random) -> str:
    return "".join(chance.choices(ODD, k=chance.choice((1, 1, 1, 2, 3))))


def csv_bytes(pairs: Pairs, chance: random.Random) -> bytes:
    file = io.StringIO(newline="")
    quoting = chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    writer = csv.writer(file, quoting=quoting, lineterminator=chance.choice(("\n", "\r\n")))
    writer.writerows([("text", "label"), *pairs])
    return file.getvalue().encode(chance.choice(("utf-8", "utf-8-sig")))


def jsonl_bytes(pairs: Pairs, chance: random.Random) -> bytes:
    options = {"ensure_ascii": chance.random() < 0.5}
    rows = [json.dumps({"label": label, "text": text}, **options) for text, label in pairs]
    return chance.choice(("\n", "\r\n", "\n\n")).join(rows).encode()


def json_bytes(pairs: Pairs, chance: random.Random) -> bytes:
    rows = [{"text": text, "other": [{}, None, 1.5], "label": label} for text, label in pairs]
    return json.dumps(rows, indent=chance.choice((None, 1))).encode()


def parquet_bytes(pairs: Pairs, chance: random.Random) -> bytes:
    sink = io.BytesIO()
    columns = {name: list(values) for name, values in zip(("text", "label"), zip(*pairs))}
    table = pa.table(columns)
    if chance.random() < 0.5:
        table = table.set_column(1, "label", table["label"].dictionary_encode())
    pq.write_table(table, sink, row_group_size=3)
    return sink.getvalue()


FORMATS: dict[str, Callable[[Pairs, random.Random], bytes]] = {
    "csv": csv_bytes,
    "jsonl": jsonl_bytes,
    "json": json_bytes,
    "parquet": parquet_bytes,
}


def read_back(path: Path) -> Pairs:
    examples = Text(str(path)).read()["train"]
    return list(zip(examples.inputs, examples.targets))


def check_round_trip(ending: str, seed: int, folder: Path) -> None:
    chance = random.Random(f"{ending} {seed}")
    pairs = [(odd_text(chance), odd_text(chance)) for _ in range(chance.randint(1, 12))]
    pairs = [(text, label) for text, label in pairs if text.strip() and label.strip()] or [
        ("a", "b")
    ]
    path = folder / f"any.{ending}"
    path.write_bytes(FORMATS[ending](pairs, chance))
    assert read_back(path) == pairs


@pytest.mark.parametrize("ending", FORMATS)
def test_any_text_comes_back_from_every_format(ending: str, tmp_path: Path) -> None:
    for seed in range(100):
        check_round_trip(ending, seed, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("ending", FORMATS)
def test_any_text_comes_back_from_every_format_in_many_cases(ending: str, tmp_path: Path) -> None:
    for seed in range(2000):
        check_round_trip(ending, seed, tmp_path)


# ---------------------------------------------------------------- any bytes


def records_of(text: str) -> list[list[str]]:
    """The records of a CSV file by RFC 4180, character by character."""
    records, record, at = [], [], 0
    while at < len(text):
        if text[at] == '"':
            field, at = "", at + 1
            while text[at : at + 2] == '""' or text[at] != '"':  # IndexError: it never ends
                step = 2 if text[at] == '"' else 1
                field, at = field + text[at], at + step
            at += 1
        else:
            ends = [text.find(end, at) % (len(text) + 1) for end in (",", "\r\n", "\n")]
            field, at = text[at : min(ends)], min(ends)
        record.append(field)
        end = next((end for end in (",", "\r\n", "\n") if text.startswith(end, at)), "")
        if not end and at < len(text):
            raise ValueError("text after a closing quote")
        at += len(end)
        if end == "," and at < len(text):
            continue
        records.append(record + [""] * (end == ","))
        record = []
    return records


def reference(content: bytes, ending: str) -> Pairs | None:
    """The file as RFC 4180, Python's `json` or pyarrow say it is; None if they cannot."""
    try:
        if ending == "parquet":
            table = pq.read_table(io.BytesIO(content), columns=["text", "label"]).to_pylist()
            return [(row["text"], row["label"]) for row in table]
        text = content.decode("utf-8-sig")
        if ending == "csv":
            header, *rows = records_of(text)
            rows = [dict(zip(header, row, strict=True)) for row in rows]
        elif ending == "json":
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip(" \t\r")]
        return [(row["text"], row["label"]) for row in rows]
    except (ValueError, KeyError, TypeError, IndexError, pa.ArrowException, OSError):
        return None


def mutated(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    awkward = b'",\n\r\t\\{}[]:\0\xff\xc3\xef\xbb\xbf 1aN'
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = bytes([chance.choice(awkward)])
            case 1:
                data[at:at] = bytes([chance.choice(awkward)])
            case 2:
                del data[at : at + chance.choice((1, 1, 3, 30))]
            case 3:
                start = chance.randrange(len(data) + 1)
                data[at:at] = data[start : start + chance.choice((1, 8, 40))]
    return bytes(data)


def check_mutation(ending: str, seed: int, folder: Path) -> bool:
    chance = random.Random(f"mutated {ending} {seed}")
    pairs = [(f"text {odd_text(chance)[:30]} .", f"l{chance.randrange(3)}") for _ in range(8)]
    content = mutated(FORMATS[ending](pairs, chance), chance)
    path = folder / f"any.{ending}"
    path.write_bytes(content)
    try:
        found = read_back(path)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return False
    assert found == reference(content, ending)
    return True


@pytest.mark.parametrize("ending", FORMATS)
def test_damaged_bytes_are_read_as_they_are_or_refused(ending: str, tmp_path: Path) -> None:
    read = [check_mutation(ending, seed, tmp_path) for seed in range(100)]
    assert any(read) and not all(read)


def test_columns_hold_what_rows_hold_wherever_a_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, names, read = str(tmp_path / "a.csv"), ["text", "label"], 0
    for seed in range(300):
        chance = random.Random(seed)
        monkeypatch.setattr("seqmodels.files.BLOCK", chance.choice((1, 7, 50, 1000)))
        pairs = [(odd_text(chance)[:30], chance.choice("abc")) for _ in range(8)]
        content = csv_bytes(pairs, chance)
        Path(path).write_bytes(mutated(content, chance) if seed % 2 else content)
        rows, found, whole = list[tuple[str, ...]](), list[tuple[str, ...]](), False
        with suppress(UserError, KeyError):  # those before a mistake come first
            for row in Tables().rows(path, names):
                rows.append(tuple(row.values[name] for name in names))
        with suppress(UserError, Inexact):
            for columns in Tables().columns_of(path, names):
                found += zip(*(column.to_pylist() for column in columns))
            whole = True
        assert found == (rows if whole else rows[: len(found)])
        read += len(found)
    assert read > 300


@pytest.mark.long
@pytest.mark.parametrize("ending", FORMATS)
def test_damaged_bytes_are_read_or_refused_in_many_cases(ending: str, tmp_path: Path) -> None:
    read = [check_mutation(ending, seed, tmp_path) for seed in range(2000)]
    assert any(read) and not all(read)
