"""Your own texts with a tag for each word, from files or the HuggingFace hub."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from seqmodels.arguments import Count, Name
from seqmodels.data.columns import Columns
from seqmodels.data.examples import IDENTITY, InputRow
from seqmodels.data.sources import OwnFiles
from seqmodels.data.tables import WITH_LISTS, Tables, ending, has_lines
from seqmodels.data.targets import Tags, mark_spans
from seqmodels.data.tokenizer import TokenizerOptions, VocabularySize
from seqmodels.data.tokens import VocabularyOf, Words
from seqmodels.errors import SettingError, UserError, choices, shown
from seqmodels.files import read_lines

# It begins a document in the files of CoNLL-2003.
DOCUMENT = "-DOCSTART-"
# The usual names of columns with lists.
TOKEN_COLUMNS = ("tokens",)
TAG_COLUMNS = ("tags", "ner_tags")
# The columns of CoNLL-U.
CONLLU = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]

# One of them is in the name of a column with words.
NAMES_OF_WORDS = {"word", "token", "form"}
# A line whose names are made of these names the columns.
NAMES_OF_COLUMNS = {
    *NAMES_OF_WORDS,
    *("pos", "chunk", "tag", "ner", "label", "gold", "iob", "bio", "entity", "class"),
    *("id", "sentence", "sent", "doc", "document", "text", "lemma", "upos", "xpos", "index", "#"),
}
NAMES_OF_COLUMNS |= {f"{name}s" for name in NAMES_OF_COLUMNS}
PART_OF_NAME = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W_]+|#")
# Columns may have such a name, and punctuation and tags don't.
NAME = re.compile(r"[^\W\d_][\w -]*\w")
# In a file with fewer lines, any tag may stand once.
MIN_LINES = 50

Line = tuple[int, list[str]]
"""The number of a line, from 1, and its fields."""


class TaggedText(OwnFiles):
    """Texts whose words have a tag each. Splits without a file are cut from `train`.

    `.json`, `.jsonl`, `.ndjson` and `.parquet` files have a text in each row: in one column the
    list of its words, in another one the list of its tags. `.conllu` files are CoNLL-U
    (https://universaldependencies.org/format.html), whose comments, multiword tokens (`2-3`) and
    empty nodes (`5.1`) are skipped. Every other file is a column file: each line has a word and its
    tag, perhaps in more columns, with `separator`, tabs or else spaces between; a blank line ends a
    text. Lines that begin with `-DOCSTART-` are skipped, and so is a first line that names the
    columns.

    Args:
        train, validation, test: a file each.
        token_column: the column with the words; None: the first one in column files, `form` in
            CoNLL-U, else `tokens`.
        tag_column: the column with the tags; None: the last one in column files, `upos` in CoNLL-U,
            else `tags` or `ner_tags`.
        lowercase, min_count, vocabulary_size, vectors, vocabulary, characters: see `Words`.
        options: `columns`, the names of those in column files; `hub`, `group`, `batch_size` and the
            other arguments of `OwnFiles`.
    """

    def __init__(
        self,
        *files: Any,
        token_column: Name | None = None,
        tag_column: Name | None = None,
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        vocabulary_size: VocabularySize = TokenizerOptions.vocabulary_size,
        vectors: Name | None = None,
        vocabulary: VocabularyOf = "train",
        characters: bool = False,
        **options: Any,
    ) -> None:
        words = Words(
            lowercase=lowercase,
            min_count=min_count,
            vocabulary_size=vocabulary_size,
            vectors=vectors,
            vocabulary=vocabulary,
            characters=characters,
        )
        super().__init__(*files, inputs=words, targets=Tags(), **options)
        self.token_column = token_column
        self.tag_column = tag_column

    def read_inputs(self, path: str) -> Iterator[list[str]]:
        return (row.raw for row in self.read_rows(path))

    def read_rows(self, path: str) -> Iterator[InputRow]:
        """Yields the words of each text. In a `.txt` file and on standard input, a line is a text;
        other files are read as in training, with tags or without."""
        if not has_lines(path):
            for words, _, columns in self.read_file(path, needs_tags=False):
                identity = {name: columns[name] for name in IDENTITY if name in columns}
                yield InputRow(words, identity)
            return
        for number, line in enumerate(read_lines(path, self.tables.encoding), start=1):
            words = re.findall(r"[^ \t\r]+", line)
            if not words:
                raise UserError(
                    f"{path}: line {number} has no words, but each line is a text here: remove it, "
                    "or rename a file with a word per line, for example to .conll"
                )
            yield InputRow(words)

    def read_file(self, path: str, *, needs_tags: bool = True) -> Iterator[tuple[Any, ...]]:
        if ending(path) not in WITH_LISTS:
            yield from self._read_column_file(path, needs_tags)
            return
        token_columns = [self.token_column] if self.token_column else TOKEN_COLUMNS
        tag_columns = [self.tag_column] if self.tag_column else TAG_COLUMNS
        table = self.tables.read(path, [*token_columns, *tag_columns, *self.roles.values()])
        words = _lists_of(table, "token", token_columns)
        tags: Sequence[list[str]] = [[]] * len(table)
        if needs_tags:
            tags = _lists_of(table, "tag", tag_columns)
        yield from table.rows(self.roles, words, tags)

    def _read_column_file(self, path: str, needs_tags: bool) -> Iterator[tuple[Any, ...]]:
        is_conllu = ending(path) == ".conllu"
        word_place, tag_place, num_columns = self._places(is_conllu)
        # The fields of line 1, unless it names the columns.
        first_line = [""] * (num_columns or 2)
        tag_counts = Counter[str]()
        for lines in _lines_of_texts(path, is_conllu, self.tables):
            number, fields = lines[0]
            if number == 1 and self._is_header(fields):
                word_place = self._word_place_of_header(fields, path, word_place, tag_place)
                lines = lines[1:]
            if not lines:  # A blank line follows the one that names the columns.
                continue
            number, fields = lines[0]
            if number == 1:
                first_line = fields
            num_columns = num_columns or len(fields)
            _check_lines(lines, num_columns, word_place, tag_place if needs_tags else None, path)
            words = [_word_of(fields, word_place) for _, fields in lines]
            tags = []
            if needs_tags:
                tags = [fields[tag_place] for _, fields in lines]
                tag_counts.update(tags)
            yield words, tags, {"source_row": number}
        if needs_tags:
            self._note(lonely_first_tag(first_line, tag_place, tag_counts, path))

    def _places(self, is_conllu: bool) -> tuple[int, int, int]:
        """Returns where in a line the word and the tag stand, and how many columns there are; 0 if
        that is not known."""
        columns = self.tables.columns or []
        token_column = self.token_column
        tag_column = self.tag_column
        if is_conllu:
            columns = CONLLU
            token_column = token_column or "form"
            tag_column = tag_column or "upos"
        word_place, tag_place = 0, -1
        if token_column is not None:
            word_place = _place_of(token_column, columns, "data.token_column")
        if tag_column is not None:
            tag_place = _place_of(tag_column, columns, "data.tag_column")
        return word_place, tag_place, len(columns)

    def _is_header(self, fields: Sequence[str]) -> bool:
        """Returns whether a first line names the columns."""
        if len(fields) < 2:
            return False
        if fields == self.tables.columns:
            return True
        for field in fields:
            names = _parts_of_name(field)
            if not names or not names <= NAMES_OF_COLUMNS:
                return False
        return True

    def _word_place_of_header(
        self, header: Sequence[str], path: str, word_place: int, tag_place: int
    ) -> int:
        """Returns the place of the words, by the names of the columns unless they are set."""
        if not self.token_column and not self.tables.columns:
            for place, name in enumerate(header[:-1]):
                if NAMES_OF_WORDS & _parts_of_name(name):
                    word_place = place
                    break
        self._note(
            f"{path}: line 1 names the columns: words are of {shown(header[word_place])}, tags of "
            f"{shown(header[tag_place])}"
        )
        return word_place


def _place_of(column: str, columns: Sequence[str], key: str) -> int:
    if not columns:
        raise UserError(f"{key}={column} is not in data.columns: set that, too")
    if column not in columns:
        raise UserError(f"{key}={column} is not in data.columns: {choices(column, columns)}")
    return columns.index(column)


def _parts_of_name(name: str) -> set[str]:
    """Returns the words that the name of a column is made of, such as `NerTag`."""
    return {part.lower() for part in PART_OF_NAME.findall(name)}


def _word_of(fields: Sequence[str], word_place: int) -> str:
    """Returns the word of a line, which may stand alone where tags aren't needed."""
    if len(fields) == 1:
        return fields[0]
    return fields[word_place]


def _check_lines(
    lines: Sequence[Line], num_columns: int, word_place: int, tag_place: int | None, path: str
) -> None:
    """Raises a `UserError` for a line without a word and a tag; without a place for tags, lines
    need none."""
    for number, fields in lines:
        if tag_place is None:
            is_right = len(fields) <= 1 or len(fields) > word_place
        else:
            has_all_fields = len(fields) == num_columns > 1
            is_right = has_all_fields and "" not in (fields[word_place], fields[tag_place])
        if not is_right:
            message = (
                f"{path}: line {number} is {shown(str(fields))}: each line needs a word and its "
                f"tag, and all lines as many columns, {max(num_columns, 2)}; correct it"
            )
            raise SettingError(f"{message}, or set data.columns", message)


def lonely_first_tag(
    first_line: Sequence[str], tag_place: int, tag_counts: Counter[str], path: str
) -> str:
    """Returns a note that the first line of a file may name the columns, as no other word has its
    tag; an empty one if it doesn't look so.

    Args:
        tag_place: where the tag stands in the line.
        tag_counts: how often the file has each tag.
    """
    first_tag = first_line[tag_place]
    is_alone = tag_counts.total() >= MIN_LINES and tag_counts[first_tag] == 1
    if not is_alone or not looks_like_names(first_line) or mark_spans([first_tag]):
        return ""
    return (
        f"{path}: line 1 is {shown(str(first_line))}, and no other word has the tag "
        f"{shown(repr(first_tag))}: remove it if it names the columns"
    )


def looks_like_names(fields: Sequence[str]) -> bool:
    """Returns whether columns may be called so."""
    return all(NAME.fullmatch(field) for field in fields)


def _lists_of(
    table: Columns, role: Literal["token", "tag"], names: Sequence[str]
) -> list[list[str]]:
    """Returns the lists of the first of these columns that has some."""
    columns_with_lists = [name for name in names if name in table.lists]
    column = columns_with_lists[0] if columns_with_lists else names[0]
    if column in table and column not in table.lists:
        raise UserError(f"{table.path}: {column} must have a list of {role}s in each row")
    return table.lists_of(column, f"data.{role}_column", raw=role == "token")


def _lines_of_texts(path: str, is_conllu: bool, tables: Tables) -> Iterator[list[Line]]:
    """Yields the lines of each text: blank lines and the beginnings of documents divide texts."""
    lines: list[Line] = []
    for number, line in enumerate(read_lines(path, tables.encoding), start=1):
        fields = _fields(line, tables.separator)
        is_blank = not any(fields)
        if is_conllu and not is_blank and not fields[0].isdecimal():
            # It is a comment, or words that are several, such as `2-3`, or none, such as `5.1`.
            continue
        if is_blank or fields[0] == DOCUMENT:
            if lines:
                yield lines
            lines = []
        else:
            lines.append((number, fields))
    if lines:
        yield lines


def _fields(line: str, separator: str | None) -> list[str]:
    if separator is None and "\t" in line:
        separator = "\t"
    if separator not in (None, " "):
        return [field.strip(" \r") for field in line.split(separator)]
    # Other spaces, such as no-break ones, belong to words.
    return re.findall(r"[^ \r]+", line)
