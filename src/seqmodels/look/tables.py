"""Which kind of table a file is, and the commands that train on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from seqmodels.data.columns import Columns, as_number
from seqmodels.data.examples import number_of_steps
from seqmodels.data.wide import FEWEST, numbered_columns
from seqmodels.errors import UserError, listed, shown
from seqmodels.look.guesses import LABELS, SHORT_TEXT, VALUES, Guess

# Series are long enough to forecast if they have so many steps on average.
FEWEST_STEPS_TO_FORECAST = 50
# A column with more different texts is hardly a channel.
MOST_TEXTS_OF_A_CHANNEL = 20
# So many texts are looked at to see whether two columns are equally long in each row, or whether
# lists hold words.
TEXTS_TO_MEASURE = 1000
# If no text is longer than this, the texts are no sequences of letters.
SHORT_SEQUENCE = 5
# So many texts are looked at to count which letters they have.
TEXTS_TO_COUNT_LETTERS = 100

Settings = dict[str, Any]
"""The keys of a command with their values, in order."""

# What a column is called by default, by the key that names it.
DEFAULT_COLUMNS = {
    "data.text_column": "text",
    "data.label_column": "label",
    "data.source_column": "source",
    "data.target_column": "target",
}


@dataclass(frozen=True)
class Command:
    """A command that trains on a file.

    Args:
        settings: its keys with their values.
        learns: what it learns, in a few words.
    """

    settings: Settings
    learns: str


@dataclass(frozen=True)
class Description:
    """What a file is, and how to train on it.

    Args:
        summary: what the file is, in a sentence.
        commands: the commands that train on it, the likeliest first.
        preparation: lines of Python to run first, for a file that training does not read as it is.
            They write one that the commands read.
    """

    summary: str
    commands: Sequence[Command]
    preparation: Sequence[str] = ()


def describe_table(path: str, columns: Columns, options: Mapping[str, Any]) -> Description:
    """What a table is.

    Args:
        options: the keys that a command needs so that it can read the file.
    """
    if columns.lists:
        return _describe_lists(path, Guess(columns, rows_are_series=True), options)
    guess = Guess(columns)
    columns_by_prefix = numbered_columns(columns.table.column_names)
    steps_by_prefix = dict[str, list[str]]()
    for prefix, names in columns_by_prefix.items():
        if len(names) >= FEWEST:
            steps_by_prefix[prefix] = names
    if steps_by_prefix:
        return _describe_wide(path, guess, steps_by_prefix, options)
    letters_and_tags = _letters_and_tags(guess)
    if letters_and_tags is not None:
        letters, tags = letters_and_tags
        return _describe_letters(path, letters, tags, options)
    description = _describe_texts(path, guess, options)
    if description is None:
        description = _describe_steps(path, guess, options)
    return description


def _describe_texts(path: str, guess: Guess, options: Mapping[str, Any]) -> Description | None:
    """What a table of texts is; None for a table without texts, or with nothing to learn of them.

    The likeliest column of texts is read. To learn is the likeliest column of labels, else the
    likeliest other column of texts, else of numbers.
    """
    texts = guess.texts()
    if not texts:
        return None
    text, *other_texts = texts
    row_count = len(guess.columns)
    file_settings: Settings = {"data.train": path, **options}
    labels = guess.labels(without=[text])
    if labels:
        commands = _commands_for_labels_of_texts(guess, text, labels[0], file_settings)
        return Description(f"texts with labels: {row_count:,} rows", commands)
    # A column without any text has no words.
    other_texts = [name for name in other_texts if guess.facts[name].mean_words > 0]
    if other_texts:
        command = _command_for_pairs(guess, text, other_texts[0], file_settings)
        return Description(f"pairs of texts: {row_count:,} rows", [command])
    numbers = guess.values(without=[text])
    if numbers and guess.series is None:
        settings = {**file_settings, **_settings_of_id(guess, text)}
        command = _command_for_numbers_of_texts(text, numbers[0], settings)
        return Description(f"texts with numbers: {row_count:,} rows", [command])
    return None


def _commands_for_labels_of_texts(
    guess: Guess, text: str, label: str, file_settings: Settings
) -> list[Command]:
    """The command that learns the label of each text; and a second one that learns it as a number,
    if labels are numbers."""
    is_short = guess.facts[text].mean_words <= SHORT_TEXT
    experiment = "char_classification" if is_short else "text_classification"
    settings_of_rows = {**file_settings, **_settings_of_id(guess, text)}
    settings = {"experiment": experiment, **settings_of_rows}
    settings |= _unless_default({"data.text_column": text, "data.label_column": label})
    group = guess.group(without=[text, label])
    if group:
        settings["data.group"] = group
    commands = [Command(settings, f"the {label} of each {text}")]
    if guess.facts[label].is_number:
        commands.append(_command_for_numbers_of_texts(text, label, settings_of_rows))
    return commands


def _command_for_pairs(
    guess: Guess, text: str, other_text: str, file_settings: Settings
) -> Command:
    """The command that learns to write the text of the one column for that of the other, which
    stands first in the table."""
    source, target = sorted([text, other_text], key=guess.columns.table.column_names.index)
    settings = {"experiment": "seq2seq", "data": "pairs", **file_settings}
    settings |= _unless_default({"data.source_column": source, "data.target_column": target})
    return Command(settings, f"to write {target} for each {source}")


def _command_for_numbers_of_texts(text: str, value: str, settings_of_rows: Settings) -> Command:
    """The command that learns the number of each text."""
    settings = {"model": "regressor", "data": "text", **settings_of_rows}
    settings |= _unless_default({"data.text_column": text})
    settings["data.value_columns"] = [value]
    return Command(settings, f"{value} as a number, of each {text}")


def _settings_of_id(guess: Guess, text: str) -> Settings:
    """The key for the column with the ids of the texts, if there is one."""
    id_column = guess.id(without=[text])
    return {"data.id": id_column} if id_column else {}


def _unless_default(column_by_key: Mapping[str, str]) -> Settings:
    """The keys whose columns have other names than those that the keys have by default."""
    return {key: name for key, name in column_by_key.items() if name != DEFAULT_COLUMNS[key]}


def _describe_steps(path: str, guess: Guess, options: Mapping[str, Any]) -> Description:
    """What a long table is, whose rows are the steps of one series or of several."""
    series_count = 1 if guess.series is None else len(guess.starts())
    is_long = len(guess.columns) >= FEWEST_STEPS_TO_FORECAST * series_count
    if is_long and guess.is_regular() and not _has_label_of_series(guess):
        return _describe_forecast(path, guess, options)
    if guess.series is None:
        columns = ", ".join(map(shown, guess.columns.table.column_names))
        raise UserError(
            f"{path}: no column of {columns} names the series of each row, or their times: if each "
            "row is a step, add a column with the name of its series; if each row is a series, "
            "call its columns x0, x1, x2, ..."
        )
    settings: Settings = {"data": "series", "data.train": path, **options}
    settings["data.series"] = guess.series
    settings |= settings_of_time(guess)
    lengths = np.bincount(guess.facts[guess.series].codes)
    summary = (
        f"a long table: {len(guess.columns):,} rows, each a step of one of {series_count:,} series "
        f"({guess.series}), of {number_of_steps(lengths)}"
    )
    return Description(summary, commands_for_series(guess, settings))


def _has_label_of_series(guess: Guess) -> bool:
    """Whether a table of several series has a column that is named as labels are."""
    if guess.series is None:
        return False
    labels = guess.labels(without=[guess.time, guess.series])
    return any(LABELS.fullmatch(name) for name in labels)


def settings_of_time(guess: Guess) -> Settings:
    """The key for the times of the rows, if a column has some."""
    return {} if guess.time is None else {"data.time": guess.time}


def commands_for_series(
    guess: Guess, settings: Settings, second_table: Guess | None = None
) -> list[Command]:
    """The commands that learn labels or numbers of series, of each one or of each of its steps.
    Where two columns may be meant, there are commands for both; where one may be read in two ways,
    there are commands for both ways.

    Args:
        settings: the keys for what the model reads.
        second_table: a table with a row for each series, if what to learn stands there.
    """
    target_table = second_table or guess
    used_columns = [guess.time, guess.series]
    labels = target_table.labels(without=used_columns)
    values = target_table.values(without=used_columns)
    label = labels[0] if labels else None
    value = values[0] if values else None

    commands = list[Command]()
    targets = _targets(target_table, label, value)
    for number, target in enumerate(targets):
        is_constant = second_table is not None or guess.is_constant(target)
        target_settings = {**settings, **_settings_of_roles(guess, target_table, target)}
        # A target that stands twice is learned as classes, then as numbers.
        stands_again = number > 0 and target == targets[0]
        if target == label and not stands_again:
            commands += _commands_for_labels(target, target_settings, is_constant=is_constant)
        else:
            commands += _commands_for_values(target, target_settings, is_constant=is_constant)
    return commands


def _targets(target_table: Guess, label: str | None, value: str | None) -> list[str]:
    """The columns that may be meant to be predicted, the likelier one first. A label stands twice
    if it may be read as classes, then as numbers.

    Args:
        label: the likeliest column of labels.
        value: the likeliest column of numbers.
    """
    if label is None:
        return [] if value is None else [value]
    is_named_as_label = LABELS.fullmatch(label) is not None
    if is_named_as_label and target_table.facts[label].is_number:
        return [label, label]
    if value is None or VALUES.fullmatch(value) is None:
        return [label]
    return [label, value] if is_named_as_label else [value, label]


def _settings_of_roles(guess: Guess, target_table: Guess, target: str) -> Settings:
    """The keys for the group, the channels and the gaps of a table of which this column is to be
    predicted."""
    used_columns = [guess.time, guess.series, target]
    settings: Settings = {}
    group = target_table.group(without=used_columns)
    if group:
        settings["data.group"] = group
    settings |= _settings_of_channels(guess, without=[*used_columns, group])
    if guess.has_gaps(without=used_columns):
        settings["data.missing"] = "mark"
    return settings


def _settings_of_channels(guess: Guess, without: Sequence[str | None]) -> Settings:
    """The key for the channels by name, if columns of texts are among them."""
    varying_texts = list[str]()
    numbers = list[str]()
    for name, facts in guess.facts.items():
        if name in without:
            continue
        if facts.is_number:
            numbers.append(name)
        elif 2 <= facts.different_count <= MOST_TEXTS_OF_A_CHANNEL and not guess.is_constant(name):
            varying_texts.append(name)
    return {"data.inputs": [*varying_texts, *numbers]} if varying_texts else {}


def _commands_for_labels(name: str, settings: Settings, *, is_constant: bool) -> list[Command]:
    """The commands that learn a column of labels.

    Args:
        is_constant: whether the label is the same at all steps of each series. Then a command
            learns that of each series, else that of each step.
    """
    settings = {**settings, **_unless_default({"data.label_column": name})}
    if is_constant:
        settings = {"experiment": "series_classification", **settings}
        return [Command(settings, f"{name} of each series")]
    bidirectional = {"experiment": "series_tagging", **settings}
    causal = {**bidirectional, "model.encoder.bidirectional": False}
    return [
        Command(bidirectional, f"{name} of each step, from the whole series"),
        Command(causal, f"{name} of each step, from the steps up to it"),
    ]


def _commands_for_values(name: str, settings: Settings, *, is_constant: bool) -> list[Command]:
    """The commands that learn a column of numbers.

    Args:
        is_constant: whether the number is the same at all steps of each series. Then a command
            learns that of each series, else that of each step.
    """
    settings = {**settings, "data.value_columns": [name]}
    if is_constant:
        settings = {"experiment": "series_regression", **settings}
        return [Command(settings, f"{name} of each series, as a number")]
    causal = {"model": "regressor", "model.head": "every_step", **settings}
    bidirectional = {**causal, "model.encoder.bidirectional": True}
    return [
        Command(causal, f"{name} of each step as a number, from the steps up to it"),
        Command(bidirectional, f"{name} of each step as a number, from the whole series"),
    ]


def _describe_forecast(path: str, guess: Guess, options: Mapping[str, Any]) -> Description:
    """What a table of one regular series is, or of several, of which one column is forecast."""
    values = guess.values(without=[guess.time, guess.series])
    if not values:
        raise UserError(f"{path} has no column with numbers to forecast")
    target = values[0]
    settings: Settings = {"data.file": path, **options}
    settings["data.target"] = target
    settings["data.time"] = guess.time
    if guess.series is None:
        counted_series = "one series"
    else:
        settings["data.series"] = guess.series
        counted_series = f"{len(guess.starts()):,} series ({guess.series})"
    summary = f"{counted_series}, in equal steps of {guess.time}: {len(guess.columns):,} rows"
    numbers, _ = guess.columns.parsed(target)
    if np.isnan(numbers).any():
        settings["data.missing"] = "last"
    point_forecast = {"model": "forecaster", "data": "windows", **settings}
    interval_forecast = {"experiment": "forecasting", **settings}
    commands = [
        Command(point_forecast, f"the next 24 values of {target}"),
        Command(interval_forecast, f"the same, with an interval around each forecast of {target}"),
    ]
    return Description(summary, commands)


def _describe_lists(path: str, guess: Guess, options: Mapping[str, Any]) -> Description:
    """What a table with lists is: texts with tags, else series."""
    columns = guess.columns
    tokens_and_tags = _tokens_and_tags(columns)
    if tokens_and_tags is not None:
        tokens, tags = tokens_and_tags
        return _describe_tags(path, tokens, tags, len(columns), options)
    settings: Settings = {"data": "series", "data.train": path, **options}
    summary = f"a row for each series, with lists of its steps: {len(columns):,} rows"
    channels, other_lists = _lists_as_long_as_the_first(columns)
    if other_lists:
        settings["data.inputs"] = channels
        summary += (
            f"; {listed(other_lists)} have other lengths than {listed(channels)}, so they are left "
            "out"
        )
    id_column = guess.id()
    if id_column:
        settings["data.series"] = id_column
    return Description(summary, commands_for_series(guess, settings))


def _tokens_and_tags(columns: Columns) -> tuple[str, str] | None:
    """Two columns with lists of texts: the tokens, and their tags. A table with two lists may have
    tags that are numbers, if they are named so. None without two such columns."""
    word_lists = [name for name in columns.lists if _holds_words(columns, name)]
    if len(word_lists) >= 2:
        return word_lists[0], word_lists[1]
    number_lists = [name for name in columns.lists if name not in word_lists]
    if len(word_lists) == len(number_lists) == 1 and LABELS.fullmatch(number_lists[0]):
        return word_lists[0], number_lists[0]
    return None


def _holds_words(columns: Columns, name: str) -> bool:
    """Whether the lists of a column hold texts, not only numbers, which JSON holds as texts."""
    if columns.kind_in_lists(name) != "text":
        return False
    first_texts = columns.elements_in_lists(name)[:TEXTS_TO_MEASURE].to_pylist()
    return any(math.isinf(as_number(text)) for text in first_texts if text is not None)


def _lists_as_long_as_the_first(columns: Columns) -> tuple[list[str], list[str]]:
    """The columns whose lists are as long in each row as those of the first such column, and the
    columns with lists of other lengths."""
    first_lengths = columns.list_lengths(columns.lists[0])  # (rows,)
    equal, different = list[str](), list[str]()
    for name in columns.lists:
        if np.array_equal(columns.list_lengths(name), first_lengths):
            equal.append(name)
        else:
            different.append(name)
    return equal, different


def _describe_tags(
    path: str, tokens: str, tags: str, row_count: int, options: Mapping[str, Any]
) -> Description:
    """What a table is that has, in each row, a list of tokens and a list of their tags."""
    settings: Settings = {"experiment": "tagging", "data.train": path, **options}
    if tokens != "tokens":
        settings["data.token_column"] = tokens
    if tags not in ("tags", "ner_tags"):
        settings["data.tag_column"] = tags
    summary = f"texts with a tag for each word: {row_count:,} rows"
    return Description(summary, [Command(settings, f"{tags} for each of {tokens}")])


def _describe_wide(
    path: str,
    guess: Guess,
    steps_by_prefix: Mapping[str, Sequence[str]],
    options: Mapping[str, Any],
) -> Description:
    """What a wide table is, whose rows are series, with a column for each step of each channel.

    Args:
        steps_by_prefix: the columns of the steps, by the prefix of their names. The longest of
            these are channels.
    """
    step_count = max(map(len, steps_by_prefix.values()))
    prefixes = [prefix for prefix, steps in steps_by_prefix.items() if len(steps) == step_count]
    settings: Settings = {"data": "series", "data.train": path, **options}
    settings["data.steps"] = prefixes[0] if len(prefixes) == 1 else prefixes
    steps_of_all = {name for steps in steps_by_prefix.values() for name in steps}
    table = guess.columns.table
    other_columns = [name for name in table.column_names if name not in steps_of_all]
    other_table = Columns(table.select(other_columns), guess.columns.path)
    other_guess = Guess(other_table, rows_are_series=True)
    id_column = other_guess.id()
    if id_column:
        settings["data.series"] = id_column
    if any(table[name].null_count for name in steps_of_all):
        settings["data.missing"] = "mark"
    first_step, *_, last_step = steps_by_prefix[prefixes[0]]
    summary = (
        f"a wide table: {len(table):,} rows, each a series of {step_count:,} steps, "
        f"{shown(first_step)} to {shown(last_step)}"
    )
    return Description(summary, commands_for_series(other_guess, settings))


def _letters_and_tags(guess: Guess) -> tuple[str, str] | None:
    """Two columns of texts that are equally long in each row: the one with more different letters
    is a sequence, and the other has its tags. None without two such columns."""
    lengths_by_column = dict[str, list[int]]()
    for name, facts in guess.facts.items():
        if facts.is_number or facts.mean_words > 1:
            continue
        texts = guess.columns.names(name).texts[:TEXTS_TO_MEASURE]
        if all(texts):
            lengths_by_column[name] = [len(text) for text in texts]
    for first, second in permutations(lengths_by_column, 2):
        lengths = lengths_by_column[first]
        are_sequences = len(set(lengths)) > 1 and max(lengths) > SHORT_SEQUENCE
        if not are_sequences or lengths != lengths_by_column[second]:
            continue
        first_count = _letter_count(guess, first)
        second_count = _letter_count(guess, second)
        if first_count == second_count:
            return None
        return (first, second) if first_count > second_count else (second, first)
    return None


def _letter_count(guess: Guess, name: str) -> int:
    """How many different letters a column has."""
    texts = guess.columns.names(name).names[:TEXTS_TO_COUNT_LETTERS]
    return len(set("".join(texts)))


def _describe_letters(
    path: str, letters: str, tags: str, options: Mapping[str, Any]
) -> Description:
    """What a table is that has a text of letters in each row, and a text with their tags.

    Args:
        options: the keys that a command needs so that it can read the file.
    """
    read_options = [f"{key.removeprefix('data.')}={value!r}" for key, value in options.items()]
    lists_file = f"{Path(path).stem}_as_lists.jsonl"  # not the name of the table itself
    preparation = (
        "import pandas",
        "from seqmodels.data.tables import Tables",
        f"columns = Tables({', '.join(read_options)}).read({path!r})",
        "table = columns.table.to_pandas()",
        f"lists = pandas.DataFrame({{'tokens': table[{letters!r}].map(list), 'tags': "
        f"table[{tags!r}].map(list)}})",
        f"lists.to_json({lists_file!r}, orient='records', lines=True)",
    )
    summary = f"sequences of letters ({letters}) with a letter for each of them ({tags})"
    settings: Settings = {"experiment": "tagging", "data.train": lists_file, "data.min_count": 1}
    command = Command(settings, f"{tags} at each letter of {letters}")
    return Description(summary, [command], preparation)
