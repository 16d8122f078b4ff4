"""Which kind of table a file is, and the words of the command that trains on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seqmodels.data.columns import Columns
from seqmodels.data.tables import ending
from seqmodels.data.wide import FEWEST, numbered_columns
from seqmodels.errors import UserError, listed, shown
from seqmodels.look.guesses import LABELS, SHORT_TEXT, VALUES, Guess

FEWEST_STEPS_TO_FORECAST = 50  # of a series

Words = dict[str, Any]
"""The keys of a command with their values, in order."""


@dataclass(frozen=True)
class Choice:
    """A command that trains on a file.

    Args:
        learns: what, in a few words.
    """

    words: Words
    learns: str


@dataclass(frozen=True)
class Kind:
    """What a file is.

    Args:
        what: in a sentence.
        choices: the commands that train on it, the likeliest first.
        before: lines of Python that write a file that the commands read.
    """

    what: str
    choices: Sequence[Choice]
    before: Sequence[str] = field(default_factory=tuple)


def kind_of_table(path: str, columns: Columns, options: Mapping[str, Any]) -> Kind:
    if columns.lists:
        return _of_lists(path, Guess(columns, rows_are_series=True), options)
    guess = Guess(columns)
    steps_by_prefix = {
        prefix: names
        for prefix, names in numbered_columns(columns.table.column_names).items()
        if len(names) >= FEWEST
    }
    if steps_by_prefix:
        return _wide(path, guess, steps_by_prefix, options)
    if (series_of_letters := _letters_with_tags(guess)) is not None:
        return _of_letters(path, *series_of_letters)
    kind = _of_texts(path, guess, options)
    return kind or _of_steps(path, guess, options)


def _of_texts(path: str, guess: Guess, options: Mapping[str, Any]) -> Kind | None:
    texts = guess.texts()
    if not texts:
        return None
    text = texts[0]
    labels = guess.labels([text])
    file = {"data.train": path, **options}
    also = {key: name for key, name in (("data.id", guess.id([text])),) if name}
    if labels:
        label = labels[0]
        is_short = guess.facts[text].words <= SHORT_TEXT
        experiment = "char_classification" if is_short else "text_classification"
        words = {"experiment": experiment, **file, **also}
        words |= _unless_default(text_column=text, label_column=label)
        group = guess.group([text, label])
        words |= {"data.group": group} if group else {}
        choices = [Choice(words, f"the {label} of each {text}")]
        if guess.facts[label].is_number:
            choices.append(_numbers_of_texts(file | also, text, label))
        return Kind(f"texts with labels: {len(guess.columns):,} rows", choices)
    others = [name for name in texts[1:] if guess.facts[name].words > 0]
    if others:
        source, target = sorted((text, others[0]), key=guess.columns.table.column_names.index)
        words = {"experiment": "seq2seq", "data": "pairs", **file}
        words |= _unless_default(source_column=source, target_column=target)
        what = f"pairs of texts: {len(guess.columns):,} rows"
        return Kind(what, [Choice(words, f"to write {target} for each {source}")])
    numbers = guess.values([text])
    if numbers and guess.series is None:
        choice = _numbers_of_texts(file | also, text, numbers[0])
        return Kind(f"texts with numbers: {len(guess.columns):,} rows", [choice])
    return None


def _numbers_of_texts(file: Words, text: str, value: str) -> Choice:
    words = {"model": "regressor", "data": "text", **file, **_unless_default(text_column=text)}
    return Choice(words | {"data.value_columns": [value]}, f"{value} as a number, of each {text}")


def _unless_default(**columns: str) -> Words:
    usual = {
        "text_column": "text",
        "label_column": "label",
        "source_column": "source",
        "target_column": "target",
    }
    return {f"data.{key}": name for key, name in columns.items() if usual[key] != name}


def _of_steps(path: str, guess: Guess, options: Mapping[str, Any]) -> Kind:
    named = [guess.time, guess.series]
    labels = guess.labels(named)
    series_count = len(guess.starts()) if guess.series is not None else 1
    is_long = len(guess.columns) >= FEWEST_STEPS_TO_FORECAST * series_count
    is_forecast = is_long and guess.is_regular()
    has_label = any(LABELS.fullmatch(name) and guess.series is not None for name in labels)
    if is_forecast and not has_label:
        return _forecast(path, guess, options)
    if guess.series is None:
        columns = ", ".join(map(shown, guess.columns.table.column_names))
        raise UserError(
            f"{path}: no column of {columns} names the series of each row, or their times: if each "
            "row is a step, add a column with the name of its series; if each row is a series, "
            "call its columns x0, x1, x2, ..."
        )
    words: Words = {"data": "series", "data.train": path, **options, "data.series": guess.series}
    words |= words_of_time(guess)
    lengths = np.bincount(guess.facts[guess.series].codes)
    what = (
        f"a long table: {len(guess.columns):,} rows, each a step of one of {series_count:,} series "
        f"({guess.series}), of {lengths.min():,} to {lengths.max():,} steps"
    )
    return Kind(what, choices_of_series(guess, words))


def words_of_time(guess: Guess) -> Words:
    """The key for the times of the rows, if a column has some."""
    return {} if guess.time is None else {"data.time": guess.time}


def choices_of_series(
    guess: Guess, words: Words, second_table: Guess | None = None
) -> list[Choice]:
    """What to learn of series: labels or numbers, of each one or each step. Where two columns may
    be meant, both; where one may be read in two ways, too.

    Args:
        words: of the data.
        second_table: with a row for each series, if what to learn stands there.
    """
    source = second_table or guess
    named = [guess.time, guess.series]
    labels, values = source.labels(named), source.values(named)
    label, value = next(iter(labels), None), next(iter(values), None)
    targets = _targets(source, label, value)

    choices = list[Choice]()
    for number, target in enumerate(targets):
        is_constant = second_table is not None or guess.is_constant(target)
        as_label = target == label and (number == 0 or target != targets[0])
        own_words = {**words, **_roles(guess, source, target)}
        describe = _labels if as_label else _values
        choices += describe(target, own_words, is_constant=is_constant)
    return choices


def _targets(source: Guess, label: str | None, value: str | None) -> list[str]:
    """What may be to predict, of the likeliest column of labels and of numbers: the likelier first.
    A label stands twice if it may be read as classes, then as numbers."""
    if label is None:
        return [] if value is None else [value]
    is_label_called_so = LABELS.fullmatch(label) is not None
    if is_label_called_so and source.facts[label].is_number:
        return [label, label]
    if value is None or VALUES.fullmatch(value) is None:
        return [label]
    return [label, value] if is_label_called_so else [value, label]


def _roles(guess: Guess, source: Guess, target: str) -> Words:
    """The other keys of a table of which this column is to be predicted."""
    named = [guess.time, guess.series, target]
    words: Words = {}
    if group := source.group(named):
        words["data.group"] = group
    words |= _channels_of_texts(guess, [*named, group])
    if guess.has_gaps(named):
        words["data.missing"] = "mark"
    return words


def _channels_of_texts(guess: Guess, named: Sequence[str | None]) -> Words:
    """The channels by name, if columns of texts are among them."""
    facts = [fact for name, fact in guess.facts.items() if name not in named]
    texts = [fact.name for fact in facts if not fact.is_number and 2 <= fact.count <= 20]
    numbers = [fact.name for fact in facts if fact.is_number]
    varying = [name for name in texts if not guess.is_constant(name)]
    return {"data.inputs": [*varying, *numbers]} if varying else {}


def _labels(name: str, words: Words, *, is_constant: bool) -> list[Choice]:
    label = {} if name == "label" else {"data.label_column": name}
    if is_constant:
        recipe = {"experiment": "series_classification", **words, **label}
        return [Choice(recipe, f"{name} of each series")]
    recipe = {"experiment": "series_tagging", **words, **label}
    live = {**recipe, "model.encoder.bidirectional": False}
    return [
        Choice(recipe, f"{name} of each step, from the whole series"),
        Choice(live, f"{name} of each step, from the steps up to it"),
    ]


def _values(name: str, words: Words, *, is_constant: bool) -> list[Choice]:
    value = {"data.value_columns": [name]}
    if is_constant:
        recipe = {"experiment": "series_regression", **words, **value}
        return [Choice(recipe, f"{name} of each series, as a number")]
    live = {"model": "regressor", "model.head": "every_step", **words, **value}
    whole = {**live, "model.encoder.bidirectional": True}
    return [
        Choice(live, f"{name} of each step as a number, from the steps up to it"),
        Choice(whole, f"{name} of each step as a number, from the whole series"),
    ]


def _forecast(path: str, guess: Guess, options: Mapping[str, Any]) -> Kind:
    values = guess.values([guess.time, guess.series])
    if not values:
        raise UserError(f"{path} has no column with numbers to forecast")
    target = values[0]
    words: Words = {"data": "windows", "data.file": path, **options, "data.target": target}
    words["data.time"] = guess.time
    what = f"one series, in equal steps of {guess.time}: {len(guess.columns):,} rows"
    if guess.series is not None:
        words["data.series"] = guess.series
        what = (
            f"{len(guess.starts()):,} series ({guess.series}), in equal steps of {guess.time}: "
            f"{len(guess.columns):,} rows"
        )
    if np.isnan(guess.columns.parsed(target)[0]).any():
        words["data.missing"] = "last"
    interval = {"experiment": "forecasting", **words}
    interval.pop("data")
    return Kind(
        what,
        [
            Choice({"model": "forecaster", **words}, f"the next 24 values of {target}"),
            Choice(interval, f"the same, with an interval around each forecast of {target}"),
        ],
    )


def _of_lists(path: str, guess: Guess, options: Mapping[str, Any]) -> Kind:
    columns = guess.columns
    tokens = [name for name in columns.lists if columns.kind_in_lists(name) == "text"]
    if len(tokens) >= 2:
        words = {"experiment": "tagging", "data.train": path, **options}
        if tokens[0] != "tokens":
            words["data.token_column"] = tokens[0]
        if tokens[1] not in ("tags", "ner_tags"):
            words["data.tag_column"] = tokens[1]
        what = f"texts with a tag for each word: {len(columns):,} rows"
        return Kind(what, [Choice(words, f"{tokens[1]} for each of {tokens[0]}")])
    words = {"data": "series", "data.train": path, **options}
    lengths_by_column = {name: columns.list_lengths(name) for name in columns.lists}
    first, *_ = lengths_by_column
    same = [
        n for n, sizes in lengths_by_column.items() if (sizes == lengths_by_column[first]).all()
    ]
    what = f"a row for each series, with lists of its steps: {len(columns):,} rows"
    if len(same) < len(lengths_by_column):
        others = [name for name in lengths_by_column if name not in same]
        words["data.inputs"] = same
        what += f"; {listed(others)} have other lengths than {listed(same)}, so they are left out"
    if name := guess.id():
        words["data.series"] = name
    return Kind(what, choices_of_series(guess, words))


def _wide(
    path: str,
    guess: Guess,
    steps_by_prefix: Mapping[str, Sequence[str]],
    options: Mapping[str, Any],
) -> Kind:
    prefixes = [*steps_by_prefix]
    longest = max(map(len, steps_by_prefix.values()))
    prefixes = [prefix for prefix in prefixes if len(steps_by_prefix[prefix]) == longest]
    steps = prefixes[0] if len(prefixes) == 1 else prefixes
    words = {"data": "series", "data.train": path, **options, "data.steps": steps}
    taken = {name for names in steps_by_prefix.values() for name in names}
    table = guess.columns.table.select(
        [n for n in guess.columns.table.column_names if n not in taken]
    )
    rest = Guess(Columns(table, guess.columns.path), rows_are_series=True)
    if name := rest.id():
        words["data.series"] = name
    first, last = steps_by_prefix[prefixes[0]][0], steps_by_prefix[prefixes[0]][-1]
    what = (
        f"a wide table: {len(guess.columns):,} rows, each a series of {longest:,} steps, "
        f"{shown(first)} to {shown(last)}"
    )
    if any(guess.columns.table[name].null_count for name in taken):
        words["data.missing"] = "mark"
    return Kind(what, choices_of_series(rest, words))


def _letters_with_tags(guess: Guess) -> tuple[str, str] | None:
    """Two columns of texts that are equally long in each row: a sequence, and its tags."""
    texts = [n for n, fact in guess.facts.items() if not fact.is_number and fact.words <= 1]
    lengths = {}
    for name in texts:
        values = guess.columns.names(name).texts[:1000]
        if all(values):
            lengths[name] = tuple(map(len, values))
    for first in lengths:
        for second in lengths:
            is_long = len({*lengths[first]}) > 1 and max(lengths[first]) > 5
            if first != second and is_long and lengths[first] == lengths[second]:
                letters = {first: _letters(guess, first), second: _letters(guess, second)}
                # There are fewer kinds of tags than of what is tagged.
                sequence, tags = sorted(letters, key=lambda name: -letters[name])
                return (sequence, tags) if letters[sequence] > letters[tags] else None
    return None


def _letters(guess: Guess, name: str) -> int:
    """How many different letters a column has."""
    return len({*"".join(guess.columns.names(name).names[:100])})


def _of_letters(path: str, sequence: str, tags: str) -> Kind:
    file = Path(path).with_suffix(".jsonl").name
    read = (
        f"pandas.read_csv({path!r})" if ending(path) == ".csv" else f"pandas.read_table({path!r})"
    )
    if ending(path) == ".parquet":
        read = f"pandas.read_parquet({path!r})"
    before = (
        "import pandas",
        f"table = {read}",
        f"lists = pandas.DataFrame({{'tokens': table[{sequence!r}].map(list), 'tags': "
        f"table[{tags!r}].map(list)}})",
        f"lists.to_json({file!r}, orient='records', lines=True)",
    )
    what = f"sequences of letters ({sequence}) with a letter for each of them ({tags})"
    words = {"experiment": "tagging", "data.train": file, "data.min_count": 1}
    return Kind(what, [Choice(words, f"{tags} at each letter of {sequence}")], before)
