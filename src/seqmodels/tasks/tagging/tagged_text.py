"""Your own texts with a tag for each word, from files or the HuggingFace hub."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

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

DOCUMENT = "-DOCSTART-"  # begins a document in the files of CoNLL-2003
USUAL = {"token": ("tokens",), "tag": ("tags", "ner_tags")}  # the names of their columns
WORDS = {"word", "token", "form"}  # in the name of the column with the words
HEADERS = {  # in the names of columns
    *(*WORDS, "pos", "chunk", "tag", "ner", "label", "gold", "iob", "bio", "entity", "class"),
    *("id", "sentence", "sent", "doc", "document", "text", "lemma", "upos", "xpos", "index", "#"),
}
HEADERS |= {f"{name}s" for name in HEADERS}
PART_OF_NAME = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W_]+|#")
NAME = re.compile(r"[^\W\d_][\w -]*\w")  # as columns have them, and punctuation and tags don't
FEW = 50  # lines, in which any tag may stand once
CONLLU = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]

Tagged = tuple[list[str], list[str]]
"""The words of a text, and their tags."""


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
        self.chosen = {"token": token_column, "tag": tag_column}

    def read_inputs(self, path: str) -> Iterator[list[str]]:
        return (row.raw for row in self.read_rows(path))

    def read_rows(self, path: str) -> Iterator[InputRow]:
        """The words of each text. In a `.txt` file and on standard input, a line is a text; other
        files are read as in training, with tags or without."""
        if not has_lines(path):
            for words, _, also in self.read_file(path, tagged=False):
                yield InputRow(words, {name: also[name] for name in IDENTITY if name in also})
            return
        for number, line in enumerate(read_lines(path, self.tables.encoding), start=1):
            if not (words := re.findall(r"[^ \t\r]+", line)):
                raise UserError(
                    f"{path}: line {number} has no words, but each line is a text here: remove it, "
                    "or rename a file with a word per line, for example to .conll"
                )
            yield InputRow(words)

    def read_file(self, path: str, *, tagged: bool = True) -> Iterator[tuple[Any, ...]]:
        if ending(path) not in WITH_LISTS:
            yield from self._of_columns(path, tagged)
            return
        names = {side: [name] if (name := self.chosen[side]) else USUAL[side] for side in USUAL}
        wanted = [*names["token"], *names["tag"], *self.roles.values()]
        table = self.tables.read(path, wanted)
        words = _lists(table, "token", names["token"])
        tags = _lists(table, "tag", names["tag"]) if tagged else [[]] * len(table)
        yield from table.rows(self.roles, words, tags)

    def _of_columns(self, path: str, tagged: bool) -> Iterator[tuple[Any, ...]]:
        is_conllu = ending(path) == ".conllu"
        word, tag, width = self._places(is_conllu)
        first_line, counts = [""] * (width or 2), Counter[str]()
        for lines in _texts_of(path, is_conllu, self.tables):
            if lines[0][0] == 1 and self._is_header(lines[0][1]):
                word = self._word_of_header(lines[0][1], path, word, tag)
                lines = lines[1:]
            if not lines:  # there is a blank line below the header
                continue
            if lines[0][0] == 1:
                first_line = lines[0][1]
            width = width or len(lines[0][1])
            _check_lines(lines, width, word, tag if tagged else None, path)
            words = [fields[word if len(fields) > 1 else 0] for _, fields in lines]
            tags = [fields[tag] for _, fields in lines] if tagged else []
            counts.update(tags)
            yield words, tags, {"source_row": lines[0][0]}
        if tagged:
            self._note(lonely_first_tag(first_line, tag, counts, path))

    def _places(self, is_conllu: bool) -> tuple[int, int, int]:
        """Where in a line the word and the tag stand, and how many columns there are; 0 if that is
        not known."""
        names = CONLLU if is_conllu else self.tables.columns or []
        places = [0, -1]
        for side, (key, usual_name) in enumerate({"token": "form", "tag": "upos"}.items()):
            name = self.chosen[key] or (usual_name if is_conllu else None)
            if name is None:
                continue
            if name not in names:
                known = choices(name, names) if names else "set that, too"
                raise UserError(f"data.{key}_column={name} is not in data.columns: {known}")
            places[side] = names.index(name)
        return places[0], places[1], len(names)

    def _is_header(self, fields: Sequence[str]) -> bool:
        """Whether a first line names the columns."""
        if len(fields) < 2:
            return False
        if fields == self.tables.columns:
            return True
        parts = [{part.lower() for part in PART_OF_NAME.findall(field)} for field in fields]
        return all(names and names <= HEADERS for names in parts)

    def _word_of_header(self, header: Sequence[str], path: str, word: int, tag: int) -> int:
        """The place of the words, by the names of the columns unless they are set."""
        if not self.chosen["token"] and not self.tables.columns:
            for place, name in enumerate(header[:-1]):
                if WORDS.intersection(map(str.lower, PART_OF_NAME.findall(name))):
                    word = place
                    break
        self._note(
            f"{path}: line 1 names the columns: words are of {shown(header[word])}, tags of "
            f"{shown(header[tag])}"
        )
        return word


def _check_lines(
    lines: Sequence[tuple[int, list[str]]], width: int, word: int, tag: int | None, path: str
) -> None:
    """Raises a `UserError` for a line without a word and a tag.

    Args:
        width: how many columns lines have.
        word, tag: where these stand in a line; without a tag, lines need none.
    """
    for number, fields in lines:
        if tag is None:
            is_right = len(fields) <= 1 or len(fields) > word
        else:
            is_right = len(fields) == width > 1 and "" not in (fields[word], fields[tag])
        if not is_right:
            problem = (
                f"{path}: line {number} is {shown(str(fields))}: each line needs a word and its "
                f"tag, and all lines as many columns, {max(width, 2)}; correct it"
            )
            raise SettingError(f"{problem}, or set data.columns", problem)


def lonely_first_tag(first_line: Sequence[str], tag: int, counts: Counter[str], path: str) -> str:
    """A note that the first line of a file may name the columns, as no other word has its tag;
    empty if one has.

    Args:
        tag: where the tag stands in the line.
        counts: how often the file has each tag.
    """
    first_tag = first_line[tag]
    is_alone = counts.total() >= FEW and counts[first_tag] == 1
    if not is_alone or not looks_like_names(first_line) or mark_spans([first_tag]):
        return ""
    return (
        f"{path}: line 1 is {shown(str(first_line))}, and no other word has the tag "
        f"{shown(repr(first_tag))}: remove it if it names the columns"
    )


def looks_like_names(fields: Sequence[str]) -> bool:
    """Whether columns may be called so."""
    return all(NAME.fullmatch(field) for field in fields)


def _lists(table: Columns, side: str, names: Sequence[str]) -> list[list[str]]:
    column = next((name for name in names if name in table.lists), names[0])
    if column in table and column not in table.lists:
        raise UserError(f"{table.path}: {column} must have a list of {side}s in each row")
    return table.lists_of(column, f"data.{side}_column", raw=side == "token")


def _texts_of(path: str, conllu: bool, tables: Tables) -> Iterator[list[tuple[int, list[str]]]]:
    """The lines of each text: their numbers and fields."""
    read = enumerate(read_lines(path, tables.encoding), start=1)
    lines = ((number, _fields(line, tables.separator)) for number, line in read)
    if conllu:  # without comments, and words that are several or none: `2-3`, `5.1`
        lines = ((number, f) for number, f in lines if not any(f) or f[0].isdecimal())
    for there, group in groupby(lines, lambda line: any(line[1]) and line[1][0] != DOCUMENT):
        if there:
            yield [*group]


def _fields(line: str, separator: str | None) -> list[str]:
    # not at other spaces, such as no-break ones, which belong to words
    if separator is None and "\t" in line:
        separator = "\t"
    if separator not in (None, " "):
        return [field.strip(" \r") for field in line.split(separator)]
    return re.findall(r"[^ \r]+", line)
