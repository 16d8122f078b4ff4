"""`data=python_syntax`: each token of Python source with its role, exactly."""

# ruff: noqa: E501 (a source and its roles on one line)
from __future__ import annotations

import dis
import io
import keyword
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import CodeType

import pytest

from seqmodels.data.sources import library_files
from seqmodels.errors import UserError
from seqmodels.tasks.language_model import plain_text
from seqmodels.tasks.tagging import PythonSyntax, python_syntax
from seqmodels.tasks.tagging.python_roles import ROLES, logical_lines, roles

SKIPPED = {"encodings", "pydoc_data"}


def tagged(source: str) -> list[tuple[str, str]]:
    tokens = [*chain.from_iterable(logical_lines(source))]
    found = roles(source, tokens)
    return [(token.string, role) for token, role in zip(tokens, found, strict=True)]


def names(source: str) -> str:
    """`name:role` of each token with a role of its own."""
    return " ".join(f"{text}:{role}" for text, role in tagged(source) if role != "other")


# ---------------------------------------------------------------- tokens


def test_strings_and_numbers_are_without_their_content_and_comments_are_left_out() -> None:
    source = 'x = [1, 0x1F, 1_0.5j, \'a\', RB\'b\', """c\n# d""", f\'{x!r:>{9}} {f"{x}"}\'] # e\n'
    assert [text for text, _ in tagged(source)] == [
        "x", "=", "[", "0", ",", "0", ",", "0", ",", "'...'", ",", "rb'...'", ",",
        '"""..."""', ",", "f'...'", "]",
    ]  # fmt: skip


def test_a_logical_line_is_a_statement_or_a_header() -> None:
    source = "@a\ndef f(\n    x,\n):\n\n    # b\n    y = (1 +\n      2); z\n    return x\n"
    lines = [" ".join(token.string for token in line) for line in logical_lines(source)]
    assert lines == ["@ a", "def f ( x , ) :", "y = ( 0 + 0 ) ; z", "return x"]


def test_tokens_are_those_of_the_tokenizer() -> None:
    for path in library_files()[::60]:
        with tokenize.open(path) as file:
            source = file.read()
        ours = [*chain.from_iterable(logical_lines(source))]
        kept = [
            found
            for found in tokenize.generate_tokens(io.StringIO(source).readline)
            if found.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER)
        ]
        whole = {token.start: token for token in ours}
        outside = [t for t in kept if t.start in whole]  # the rest is inside of f-strings
        assert [t.start for t in ours if t.type != tokenize.STRING] == [t.start for t in outside]
        if sys.version_info < (3, 12):
            assert outside == kept


# ---------------------------------------------------------------- roles


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os.path as p, re\np.x\nre", "os:global path:attribute p:assigned re:assigned p:global x:attribute re:global"),
        ("from ..a import (b as c,\n d)\nc(d)", "a:attribute b:global c:assigned d:assigned c:call d:global"),
        ("from a import *", "a:global"),
        ("def f(a, /, b=len, *c, d, **e): return a, x", "f:assigned a:parameter b:parameter len:global c:parameter d:parameter e:parameter a:local x:global"),
        ("async def f(): await g()", "f:assigned g:call"),
        ("class A(B, metaclass=M):\n  x = 1\n  y: int = x\n  def f(self): return self.x + x", "A:assigned B:global metaclass:argument M:global x:assigned y:assigned int:global x:local f:assigned self:parameter self:local x:attribute x:global"),
        ("class _A:\n  def f(self):\n    __x = 1\n    return __x, __y", "_A:assigned f:assigned self:parameter __x:assigned __x:local __y:global"),
        ("a.b.c(d=e)(f).g", "a:global b:attribute c:call d:argument e:global f:global g:attribute"),
        ("print(x); print; f(); f", "print:call x:global print:global f:call f:global"),
        ("def f():\n  len = 1\n  return len, max", "f:assigned len:assigned len:local max:global"),
        ("len = 1\nlen(x)", "len:assigned len:call x:global"),
        ("@a.b(c)\n@property\n@d\ndef f(): pass", "a:global b:call c:global property:global d:global f:assigned"),
        ("def f(x: a.B[int] = y, *z: C) -> D: w: E", "f:assigned x:parameter a:global B:attribute int:global y:global z:parameter C:global D:global w:assigned E:global"),
        ("f = lambda x, y=z: x + w", "f:assigned x:parameter y:parameter z:global x:local w:global"),
        ("def f(x): return lambda y=x, *, z=x: x + y + z + w", "f:assigned x:parameter y:parameter x:local z:parameter x:local x:local y:local z:local w:global"),
        ("y = lambda x=y: y", "y:assigned x:parameter y:global y:global"),
        ("lambda: (y := x) + y", "y:assigned x:global y:local"),
        ("x = [y for y in z if y for z in y]", "x:assigned y:local y:assigned z:global y:local z:assigned y:local"),
        ("{k: v for k, v in a}; k", "k:local v:local k:assigned v:assigned a:global k:global"),
        ("def f():\n  [y := x for x in z]\n  return y", "f:assigned y:assigned x:local x:assigned z:global y:local"),
        ("[y := x for x in z]", "y:assigned x:local x:assigned z:global"),
        ("def f():\n  global x\n  x = y = 1\n  def g():\n    nonlocal y, z\n    y = x, y\n  z = 0", "f:assigned x:global x:assigned y:assigned g:assigned y:local z:local y:assigned x:global y:local z:assigned"),
        ("def f():\n  global x\n  x = 1\nx()", "f:assigned x:global x:assigned x:call"),
        ("class A:\n  x = 1\n  [x for y in x]", "A:assigned x:assigned x:global y:assigned x:local"),
        ("def f(x):\n  class A:\n    y = x\n  return A", "f:assigned x:parameter A:assigned y:assigned x:local A:local"),
        ("try: pass\nexcept (A, B) as e: e", "A:global B:global e:assigned e:global"),
        ("def f():\n  try: pass\n  except ((A)) as e: raise E(e) from e", "f:assigned A:global e:assigned E:call e:local e:local"),
        ("try: import x\nexcept E: x = None\nx", "x:assigned E:global x:assigned x:global"),
        ("with a as b, c() as (d, e.f): pass", "a:global b:assigned c:call d:assigned e:global f:attribute"),
        ("def f():\n  for x in y: del x", "f:assigned x:assigned y:global x:local"),
        ("(a)(b); a.b[c](d)", "a:call b:global a:global b:attribute c:global d:global"),
        ("é = 'ü'; ö.ä(ñ=é)", "é:assigned ö:global ä:call ñ:argument é:global"),
        ("x = 'ü'; y.z", "x:assigned y:global z:attribute"),
        ("f'{x + y.z(a=b)}' + c", "c:global"),
        ("def f():\n  f'{(x := y)}'\n  return x", "f:assigned x:local"),
        ("f(*a, **b)", "f:call a:global b:global"),
        ("x.y += z; x += z", "x:global y:attribute z:global x:assigned z:global"),
    ],
)  # fmt: skip
def test_names_have_the_role_that_python_gives_them(source: str, found: str) -> None:
    assert names(source) == found


def test_what_is_no_name_has_no_role_of_its_own() -> None:
    source = "if None is not x and match: x[0] += 'a' @ ...; pass"
    others = [text for text, role in tagged(source) if role == "other"]
    assert others == [
        "if", "None", "is", "not", "and", ":", "[", "0", "]", "+=", "'...'", "@", "...", ";", "pass",
    ]  # fmt: skip


def test_soft_keywords_are_names_only_where_they_are() -> None:
    source = """
    match match:
        case case.A(x=0, y=(z)) | [_, *rest]: pass
        case {"k": v, **more} if v: pass
        case (int() | None) as n: pass
    type = match(case)
    type.case = _
    """
    source = textwrap.dedent(source)
    found = " ".join(f"{text}:{role}" for text, role in tagged(source) if text.isidentifier())
    assert found == (
        "match:other match:global case:other case:global A:attribute x:argument y:argument "
        "z:assigned _:other rest:assigned pass:other case:other v:assigned more:assigned if:other "
        "v:global pass:other case:other int:global None:other as:other n:assigned "
        "pass:other type:assigned match:call case:global type:global case:attribute _:global"
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_type_parameters_are_parameters() -> None:
    assert names("def f[T: int, *U, **P](x: T): return T, x") == (
        "f:assigned T:parameter int:global U:parameter P:parameter x:parameter T:local T:local "
        "x:local"
    )
    assert names("class A[T](B[T]): x: T\ntype C[T] = list[T]") == (
        "A:assigned T:parameter B:global T:local x:assigned T:local "
        "C:assigned T:parameter list:global T:local"
    )


USES = {"LOAD_FAST": "local", "LOAD_DEREF": "local", "LOAD_GLOBAL": "global"}


def test_names_are_of_the_function_where_the_compiler_says_so() -> None:
    checked = 0
    for path in library_files()[5::40]:
        with tokenize.open(path) as file:
            source = file.read()
        if not source.isascii():  # the compiler counts bytes
            continue
        tokens = [*chain.from_iterable(logical_lines(source))]
        found = {t.start: role for t, role in zip(tokens, roles(source, tokens), strict=True)}
        for instruction in _instructions(compile(source, path, "exec")):
            where, role = instruction.positions, USES.get(instruction.opname)
            start = (where.lineno, where.col_offset) if where else None
            name = instruction.argval
            if role is None or start not in found or where.end_col_offset - start[1] != len(name):
                continue
            if found[start] in ("local", "global"):  # not a call
                assert found[start] == role, (path, start, name)
                checked += 1
    assert checked > 2000


def _instructions(code: CodeType) -> Iterator[dis.Instruction]:
    yield from dis.get_instructions(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)


def test_every_token_of_the_library_has_a_role() -> None:
    for path in library_files()[::25]:
        if SKIPPED.isdisjoint(path.parts):
            with tokenize.open(path) as file:
                source = file.read()
            found = tagged(source)
            assert {role for _, role in found} <= {*ROLES}
            for text, role in found:
                word = text.isidentifier()
                keywords = keyword.iskeyword(text) or keyword.issoftkeyword(text)
                assert not word or role != "other" or keywords
                assert word or role == "other"


# ---------------------------------------------------------------- blocks and splits

MODULE = "import os\n\n@property\ndef f(a, b):\n    return os.path.join(a, b)\n\nx = f(1, 2)\n"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """20 modules, one without a statement and one that is not Python."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = [tmp_path / f"m{number}.py" for number in range(20)]
    for number, path in enumerate(files):
        path.write_text(MODULE + f"name_{number} = [{'x, ' * number}]\n")
    files[3].write_text("# nothing\n")
    files[4].write_text("def f(:\n")
    monkeypatch.setattr(plain_text, "library_files", lambda: files)
    monkeypatch.setattr(python_syntax, "library_files", lambda: files)
    return files


def test_splits_are_of_whole_files(library: list[Path]) -> None:
    data = PythonSyntax(block=8, validation_fraction=0.2, test_fraction=0.2)
    data.setup()
    assert data.notes[-1] == "skipped 1 files that this Python cannot parse"
    where: dict[str, set[str]] = {}
    for split, examples in data.examples.items():
        for tokens in examples.inputs:
            for text in tokens:
                if text.startswith("name_"):
                    where.setdefault(text, set()).add(split)
    assert len(where) == 18 and all(len(splits) == 1 for splits in where.values())
    assert {len(data.examples[split]) > 0 for split in data.examples} == {True}
    again = PythonSyntax(block=8, validation_fraction=0.2, test_fraction=0.2)
    again.setup()
    assert again.fingerprint == data.fingerprint


def test_blocks_are_whole_statements_and_keep_headers_with_what_follows(
    library: list[Path],
) -> None:
    pairs = [*PythonSyntax(block=8).read_file(str(library[0]))]
    assert [" ".join(tokens) for tokens, _ in pairs] == [
        "import os",
        "@ property def f ( a , b ) : return os . path . join ( a , b )",
        "x = f ( 0 , 0 )",
        "name_0 = [ ]",
    ]
    source = library[0].read_text()
    assert [*chain.from_iterable(tags for _, tags in pairs)] == [r for _, r in tagged(source)]
    [(tokens, tags)] = PythonSyntax(block=1000).read_file(str(library[0]))
    assert list(zip(tokens, tags, strict=True)) == tagged(source)


def test_a_statement_of_very_many_tokens_is_cut(library: list[Path]) -> None:
    data = PythonSyntax(block=8)
    data.setup()
    lengths = [int(n) for dataset in data.datasets.values() for n in dataset.lengths]
    assert max(lengths) <= 16
    total = sum(len(x) for examples in data.examples.values() for x in examples.inputs)
    assert sum(lengths) == total


def test_source_to_predict_for_needs_no_roles(
    library: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = PythonSyntax(block=8)
    inputs = [*data.read_inputs(str(library[0]))]
    assert inputs == [tokens for tokens, _ in data.read_file(str(library[0]))]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x = f(\n  1)\n")))
    assert [*data.read_inputs("-")] == [["x", "=", "f", "(", "0", ")"]]
    latin = tmp_path / "latin.py"
    latin.write_bytes("# coding: latin-1\né = 1\n".encode("latin-1"))
    assert [*data.read_inputs(str(latin))] == [["é", "=", "0"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x = (1\n", r"a.py: line \d: this is not Python \(.*; correct it"),
        (b"", "a.py is empty: it has no statement"),
        (b"# only\n", "a.py is empty: it has no statement"),
        (b"y\nx = '\n", r"a.py: line 2: this is not Python \("),
        (b"x = $\n", r"a.py: line 1: this is not Python \("),
        (b"if x:\n    y\n  z\n", r"a.py: line 3: this is not Python \("),
        (b"# coding: none\n", "a.py cannot be read"),
        (b"\xff\n", "a.py cannot be read"),
    ],
)
def test_what_is_not_python_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(content)
    for read in (PythonSyntax().read_inputs, PythonSyntax().read_file):
        with pytest.raises(UserError, match=message) as caught:
            [*read(str(path))]
        assert "\n" not in str(caught.value)


def test_only_roles_need_a_source_that_python_can_parse(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("def f():\nx\n")
    assert [*PythonSyntax().read_inputs(str(path))] == [["def", "f", "(", ")", ":", "x"]]
    with pytest.raises(UserError, match=r"a\.py: line 2: this is not Python \("):
        [*PythonSyntax().read_file(str(path))]


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        ("f(x)", "f[x]", 0),
        ("a.b(x)", "a.b + x", 2),
        ("f(x=y)", "f(x-y)", 2),
        ("x, y = z", "x, y", 0),
    ],
)
def test_a_name_can_have_another_role_by_what_follows(one: str, other: str, place: int) -> None:
    first, second = tagged(one)[: place + 1], tagged(other)[: place + 1]
    assert first[-1] != second[-1]
    assert [text for text, _ in first] == [text for text, _ in second]


def test_a_name_can_have_another_role_by_what_comes_before() -> None:
    before = ("def f(x): ", "y(x).", "x: ", "import ")
    assert [tagged(f"{words}x")[-1] for words in before] == [
        ("x", "local"), ("x", "attribute"), ("x", "global"), ("x", "assigned"),
    ]  # fmt: skip
