"""Words and their tags from column files such as CoNLL's, from JSON Lines and Parquet."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from seqmodels.data.tables import Row, Tables, ending
from seqmodels.errors import UserError, choices, shown
from seqmodels.files import read_lines

LISTS = (".json", ".jsonl", ".ndjson", ".parquet")  # the endings of files with lists
TOKEN_LISTS, TAG_LISTS = ("tokens",), ("tags", "ner_tags")  # the usual names of their columns
DOCUMENT = "-DOCSTART-"  # begins a document in the files of CoNLL-2003
BLANKS = " \t\r"
CONLLU = ".conllu"
CONLLU_COLUMNS = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
ALWAYS_THERE = ("upos", "xpos", "head", "deprel")  # where a word has one at all; `_`: it has none


@dataclass(frozen=True)
class TagFiles:
    """How to read words and tags from files.

    `.json`, `.jsonl`, `.ndjson` and `.parquet` files have a text in each row: in one column the
    list of its words, in another one the list of its tags. `.conllu` files are CoNLL-U
    (https://universaldependencies.org/format.html), whose comments, multiword tokens (`2-3`) and
    empty nodes (`5.1`) are skipped. Every other file is a column file: each line has a word and its
    tag, perhaps in more columns, and a blank line ends a text. Lines that begin with `-DOCSTART-`
    are skipped.

    Args:
        token_column: the column with the words; None: the first one in column files, `form` in
            CoNLL-U, else `tokens`.
        tag_column: the column with the tags; None: the last one in column files, `upos` in CoNLL-U,
            else `tags` or `ner_tags`.
        columns: the names of the columns in column files; CoNLL-U has its own.
        separator: what separates columns; None: any number of spaces and tabs.
        comment: in column files, skip lines before the first word of a text that begin so. None
            skips none, because `#` may be a word.
        encoding: of column files.

    Raises:
        UserError: for a column that `columns` lacks.
    """

    token_column: str | None = None
    tag_column: str | None = None
    columns: list[str] | None = None
    separator: str | None = None
    comment: str | None = None
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        names = self.columns
        if names is not None and len(set(names)) < max(len(names), 2):
            raise UserError(f"data.columns={names}: name two or more columns, each differently")
        for key in ("token_column", "tag_column"):
            if names is not None and getattr(self, key) not in (None, *names):
                name = getattr(self, key)
                raise UserError(f"data.{key}={name} is not in data.columns: {choices(name, names)}")

    def tagged(self, path: str) -> Iterator[tuple[list[str], list[str]]]:
        """The words of each text and their tags, as soon as they can be read.

        Raises:
            UserError: if the file cannot be read, or a line or row is wrong.
        """
        if has_lists(path):
            for row in self._rows(path):
                words = self._list(row, "token")
                tags = self._list(row, "tag")
                if len(words) != len(tags):
                    raise UserError(
                        f"{row.where} has {len(words)} tokens and {len(tags)} tags; each token "
                        "needs one tag"
                    )
                yield words, tags
            return
        files = self._of(path)
        for rows in files._texts(path, len(files.columns) if files.columns else None):
            number, fields = rows[0]
            if len(fields) == 1:
                raise UserError(
                    f"{path}: line {number} has one column, and no tag after the word; "
                    f"{files._advice(fields[0])}"
                )
            word, tag = files._word_and_tag(path, len(fields))
            always = _is_conllu(path) and (files.columns or [])[tag] in ALWAYS_THERE
            missing = "_" if always else ""
            yield _column(rows, word, path, "word"), _column(rows, tag, path, "tag", missing)

    def words(self, path: str, width: int | None, tags: Collection[str]) -> Iterator[list[str]]:
        """The words of each text in a file that may have tags or none, as soon as they can be read.

        Standard input, `-`, is plain text: each line is a text, and its words are separated by
        spaces or tabs. So is a `.txt` file, unless its first line is a single word, or has as many
        columns as in training and one of the tags in its place. A column file has the columns of
        the training, or the same ones without the tags, or words only.

        Args:
            width: the number of columns in training; None: there was no column file.
            tags: that training saw.

        Raises:
            UserError: if the file cannot be read, or a line or row is wrong.
        """
        if path != "-" and has_lists(path):
            for row in self._rows(path, tags=False):
                yield self._list(row, "token")
            return
        if path != "-":
            files = self._of(path)
            width = len(files.columns) if files.columns else width
            line = files._first(path)
            word, tag = files._word_and_tag(path, width or 2)
            if len(line) == 1:
                word = 0
            elif len(line) == (width or 2) - 1:  # without the tags
                word -= tag < word
            tagged = len(line) == width and line[tag] in tags
            if tagged or len(line) == 1 or ending(path) != ".txt":
                for rows in files._texts(path, min(len(line), width or 2)):
                    yield _column(rows, word, path, "word")
                return
        for number, text in enumerate(read_lines(path, self.encoding), start=1):
            if not (words := _split(text)):
                raise UserError(f"{path}: line {number} has no words; remove it")
            yield words

    def width(self, path: str) -> int | None:
        """The number of columns in the first line of a column file; None for a file with lists."""
        return None if has_lists(path) else len(self._of(path)._first(path))

    def _of(self, path: str) -> TagFiles:
        """How to read a column file of this name."""
        if not _is_conllu(path):
            return self
        return replace(
            self,
            token_column=self.token_column or "form",
            tag_column=self.tag_column or "upos",
            columns=self.columns or CONLLU_COLUMNS,
            separator="\t",
            comment="#",
        )

    def _first(self, path: str) -> list[str]:
        found = next((fields for _, _, fields in self._lines(path) if fields), None)
        if found is None:
            raise UserError(f"{path} is empty: it has no words")
        return found

    def _texts(self, path: str, width: int | None = None) -> Iterator[list[tuple[int, list[str]]]]:
        """The lines of each text in a column file: their numbers and fields.

        Args:
            width: the number of fields in each line; None: as many as in the first.
        """
        first = self._first(path)  # an error for an empty file
        width, rows = width or len(first), list[tuple[int, list[str]]]()
        for number, line, fields in self._lines(path):
            if fields and len(fields) != width:
                named = f" ({', '.join(map(shown, self.columns))})" if self.columns else ""
                # the first line may be a comment as long as no other line is
                comment = " ".join(first) if first[0].startswith("#") else line
                raise UserError(
                    f"{path}: line {number} has {len(fields)} columns, not {width}{named}; "
                    f"{self._advice(comment)}"
                )
            if fields:
                rows.append((number, fields))
            elif rows:
                yield rows
                rows = []
        if rows:
            yield rows

    def _lines(self, path: str) -> Iterator[tuple[int, str, list[str]]]:
        """The number of each line in a column file, the line and its fields; none between texts."""
        inside = False  # of a text
        for number, line in enumerate(read_lines(path, self.encoding), start=1):
            if not inside and self.comment is not None and line.startswith(self.comment):
                continue
            fields = _split(line)
            if fields and self.separator is not None:
                fields = line.removesuffix("\r").split(self.separator)
            if _is_conllu(path) and fields and not fields[0].isdecimal():
                if not re.fullmatch(r"\d+[-.]\d+", fields[0]):
                    raise UserError(f"{path}: line {number} begins with no id of CoNLL-U")
                continue  # several words that are written as one, or one that is not written
            inside = bool(fields) and fields[0] != DOCUMENT
            yield number, line, fields if inside else []

    def _advice(self, line: str) -> str:
        if line.startswith("#") and self.comment is None:
            return "if this is a comment, set data.comment='#'"
        return "correct it, or set data.separator or data.columns"

    def _word_and_tag(self, path: str, width: int) -> tuple[int, int]:
        """The columns of the words and of the tags in a column file."""
        columns = []
        for key, usual in (("token_column", 0), ("tag_column", width - 1)):
            name = getattr(self, key)
            if name is not None and self.columns is None:
                raise UserError(f"data.{key}={name}: {path} has no header, so set data.columns too")
            columns.append(usual if name is None else (self.columns or []).index(name))
        if columns[0] == columns[1]:
            raise UserError("data.token_column and data.tag_column are one column: set the other")
        return columns[0], columns[1]

    def _rows(self, path: str, *, tags: bool = True) -> Iterator[Row]:
        words = (self.token_column,) if self.token_column else TOKEN_LISTS
        wanted = (self.tag_column,) if self.tag_column else TAG_LISTS
        row = None
        for row in Tables().rows(path, (*words, *wanted) if tags else words):
            yield row
        if row is None:
            raise UserError(f"{path} is empty: it has no rows")

    def _list(self, row: Row, what: str) -> list[str]:
        usual = TOKEN_LISTS if what == "token" else TAG_LISTS
        given = getattr(self, f"{what}_column")
        names = usual if given is None else (given,)
        column = next((name for name in names if name in row.values), names[0])
        values = row.value(column, f"data.{what}_column")
        path, number = row.path, row.number
        if not isinstance(values, list):
            raise UserError(f"{path}: the {what}s of row {number} are not a list; correct the row")
        texts = []
        for place, value in enumerate(values, start=1):
            if not isinstance(value, str) or not value.strip():
                raise UserError(f"{path}: {what} {place} of row {number} is empty; correct the row")
            texts.append(value)
        if not texts:
            raise UserError(f"{row.where} has no {what}s; remove the row or fill it")
        return texts


def has_lists(path: str) -> bool:
    """Whether a file is one with lists, by its ending."""
    return ending(path) in LISTS


def _split(line: str) -> list[str]:
    # not at other spaces, such as no-break ones, which belong to words
    stripped = line.strip(BLANKS)
    return re.split(f"[{BLANKS}]+", stripped) if stripped else []


def _is_conllu(path: str) -> bool:
    return ending(path) == CONLLU


def _column(
    rows: list[tuple[int, list[str]]], place: int, path: str, what: str, missing: str = ""
) -> list[str]:
    texts = [fields[place] for _, fields in rows]
    for (number, _), text in zip(rows, texts, strict=True):
        if not text.strip() or text == missing:
            raise UserError(
                f"{path}: line {number} has an empty {what}; fill it, remove the line, or choose "
                "another column"
            )
    return texts
