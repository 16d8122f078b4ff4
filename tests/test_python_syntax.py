"""`data=python_syntax`: each token of Python source with its role, exactly."""

# ruff: noqa: E501 (a source and its roles on one line)
from __future__ import annotations

import ast
import io
import keyword
import symtable
import sys
import textwrap
import tokenize
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from seqmodels.data import PythonSyntax, python_source, python_syntax
from seqmodels.data.python_roles import ROLES, roles
from seqmodels.data.python_source import library_files
from seqmodels.data.python_tokens import logical_lines
from seqmodels.errors import UserError

LEXICAL = {"operator", "keyword", "string", "number", "constant"}
SKIPPED = {"encodings", "pydoc_data"}


def tagged(source: str) -> list[tuple[str, str]]:
    source = textwrap.dedent(source)
    tokens = [*chain.from_iterable(logical_lines(source))]
    found = roles(source, tokens)
    return [(token.text, role) for token, role in zip(tokens, found, strict=True)]


def names(source: str) -> str:
    """`name:role` of each token with a role of its own."""
    return " ".join(f"{text}:{role}" for text, role in tagged(source) if role not in LEXICAL)


# ---------------------------------------------------------------- tokens


def test_strings_and_numbers_are_without_their_content_and_comments_are_left_out() -> None:
    source = 'x = [1, 0x1F, 1_0.5j, \'a\', RB\'b\', """c\n# d""", f\'{x!r:>{9}} {f"{x}"}\'] # e\n'
    assert [text for text, _ in tagged(source)] == [
        "x", "=", "[", "0", ",", "0", ",", "0", ",", "'...'", ",", "rb'...'", ",",
        '"""..."""', ",", "f'...'", "]",
    ]  # fmt: skip


def test_a_logical_line_is_a_statement_or_a_header() -> None:
    source = "@a\ndef f(\n    x,\n):\n\n    # b\n    y = (1 +\n      2); z\n    return x\n"
    lines = [" ".join(token.text for token in line) for line in logical_lines(source)]
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
        assert [t.start for t in ours if t.kind != "string"] == [t.start for t in outside]
        if sys.version_info < (3, 12):
            assert outside == kept


# ---------------------------------------------------------------- roles


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os.path as p, re\np.x\nre", "os:import path:import p:import re:import p:import x:attribute re:import"),
        ("from ..a import (b as c,\n d)\nc(d)", "a:import b:import c:import d:import c:call d:import"),
        ("def f(a, /, b=len, *c, d, **e): return a, x", "f:function a:parameter b:parameter len:builtin c:parameter d:parameter e:parameter a:local x:global"),
        ("async def f(): await g()", "f:function g:call"),
        ("class A(B, metaclass=M):\n  x = 1\n  y: int = x\n  def f(self): return self.x + x", "A:class B:global metaclass:argument M:global x:attribute y:attribute int:type x:attribute f:function self:parameter self:local x:attribute x:global"),
        ("a.b.c(d=e)(f).g", "a:global b:attribute c:method d:argument e:global f:global g:attribute"),
        ("print(x); print; f(); f", "print:builtin x:global print:builtin f:call f:global"),
        ("def f():\n  len = 1\n  return len, max", "f:function len:local len:local max:builtin"),
        ("len = 1\nlen(x)", "len:global len:call x:global"),
        ("@a.b(c)\n@property\n@d\ndef f(): pass", "a:decorator b:decorator c:global property:decorator d:decorator f:function"),
        ("def f(x: a.B[int] = y, *z: C) -> D: w: E", "f:function x:parameter a:type B:type int:type y:global z:parameter C:type D:type w:local E:type"),
        ("f = lambda x, y=z: x + w", "f:global x:parameter y:parameter z:global x:local w:global"),
        ("x = [y for y in z if y for z in y]", "x:global y:local y:local z:global y:local z:local y:local"),
        ("{k: v for k, v in a}; k", "k:local v:local k:local v:local a:global k:global"),
        ("def f():\n  [y := x for x in z]\n  return y", "f:function y:local x:local x:local z:global y:local"),
        ("[y := x for x in z]", "y:global x:local x:local z:global"),
        ("def f():\n  global x\n  x = y = 1\n  def g():\n    nonlocal y\n    y = x", "f:function x:global x:global y:local g:function y:local y:local x:global"),
        ("def f():\n  global x\n  x = 1\nx()", "f:function x:global x:global x:call"),
        ("class A:\n  x = 1\n  [x for y in x]", "A:class x:attribute x:global y:local x:attribute"),
        ("def f(x):\n  class A:\n    y = x\n  return A", "f:function x:parameter A:class y:attribute x:local A:local"),
        ("try: pass\nexcept (A, B) as e: e", "A:global B:global e:global e:global"),
        ("def f():\n  try: pass\n  except ((A)) as e: raise E(e) from e", "f:function A:global e:local E:call e:local e:local"),
        ("try: import x\nexcept E: x = None\nx", "x:import E:global x:import x:import"),
        ("with a as b, c() as (d, e.f): pass", "a:global b:global c:call d:global e:global f:attribute"),
        ("def f():\n  for x in y: del x", "f:function x:local y:global x:local"),
        ("(a)(b); a.b[c](d)", "a:call b:global a:global b:attribute c:global d:global"),
        ("é = 'ü'; ö.ä(ñ=é)", "é:global ö:global ä:method ñ:argument é:global"),
        ("x = 'ü'; y.z", "x:global y:global z:attribute"),
        ("f'{x + y.z(a=b)}' + c", "c:global"),
        ("def f():\n  f'{(x := y)}'\n  return x", "f:function x:local"),
        ("f(*a, **b)", "f:call a:global b:global"),
        ("x.y += z", "x:global y:attribute z:global"),
    ],
)  # fmt: skip
def test_names_have_the_role_that_python_gives_them(source: str, found: str) -> None:
    assert names(source) == found


def test_what_is_no_name_goes_by_its_form() -> None:
    assert tagged("if None is not x: pass") == [
        ("if", "keyword"), ("None", "constant"), ("is", "keyword"), ("not", "keyword"),
        ("x", "global"), (":", "operator"), ("pass", "keyword"),
    ]  # fmt: skip


def test_soft_keywords_are_keywords_only_where_they_are() -> None:
    source = """
    match match:
        case case.A(x=0, y=(z)) | [_, *rest]: pass
        case {"k": v, **more} if v: pass
        case (int() | None) as n: pass
    type = match(case)
    type.case = _
    """
    found = " ".join(f"{text}:{role}" for text, role in tagged(source) if text.isidentifier())
    assert found == (
        "match:keyword match:global case:keyword case:global A:attribute x:attribute y:attribute "
        "z:global _:keyword rest:global pass:keyword case:keyword v:global more:global if:keyword "
        "v:global pass:keyword case:keyword int:builtin None:constant as:keyword n:global "
        "pass:keyword type:global match:call case:global type:global case:attribute _:global"
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_type_parameters_are_types() -> None:
    assert names("def f[T: int, *U, **P](x: T): return T, x") == (
        "f:function T:type int:type U:type P:type x:parameter T:type T:type x:local"
    )
    assert names("class A[T](B[T]): x: T\ntype C[T] = list[T]") == (
        "A:class T:type B:global T:type x:attribute T:type C:type T:type list:type T:type"
    )


def test_names_of_functions_are_local_where_the_symbol_table_says_so() -> None:
    checked = 0
    for path in library_files()[5::40]:
        with tokenize.open(path) as file:
            source = file.read()
        tokens = [*chain.from_iterable(logical_lines(source))]
        found = {t.start: role for t, role in zip(tokens, roles(source, tokens), strict=True)}
        tables = {(t.get_name(), t.get_lineno()): t for t in _tables(source, str(path))}
        lines = source.split("\n")
        for node in ast.walk(ast.parse(source)):
            simple = isinstance(node, ast.FunctionDef) and not node.decorator_list
            if not simple or (node.name, node.lineno) not in tables:
                continue
            table = tables[node.name, node.lineno]
            parts = [*chain.from_iterable(ast.walk(each) for each in node.body)]
            scopes = (ast.Lambda, ast.FunctionDef, ast.ClassDef, ast.comprehension, ast.JoinedStr)
            if any(isinstance(part, scopes) for part in parts):
                continue
            called = {id(part.func) for part in parts if isinstance(part, ast.Call)}
            types = {id(n) for p in parts for n in ast.walk(getattr(p, "annotation", None) or p)}
            types = types if any(isinstance(p, ast.AnnAssign) for p in parts) else set()
            for part in parts:
                if not isinstance(part, ast.Name) or id(part) in called | types:
                    continue
                line = lines[part.lineno - 1]
                column = len(line.encode()[: part.col_offset].decode())
                if part.id.startswith("__"):  # which the table mangles
                    continue
                symbol = table.lookup(part.id)
                inside = symbol.is_local() or symbol.is_free()
                role = found[part.lineno, column]
                assert (role == "local") == (inside and role != "import"), (path, part.id, line)
                checked += 1
    assert checked > 2000


def _tables(source: str, path: str) -> list[Any]:
    found, waiting = [], [symtable.symtable(source, path, "exec")]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        found += [table] * (table.get_type() == "function")
    return found


def test_every_token_of_the_library_has_a_role() -> None:
    for path in library_files()[::25]:
        if SKIPPED.isdisjoint(path.parts):
            with tokenize.open(path) as file:
                source = file.read()
            found = tagged_as_it_is(source)
            assert {role for _, role in found} <= {*ROLES}
            for text, role in found:
                if role in ("keyword", "constant"):
                    assert keyword.iskeyword(text) or keyword.issoftkeyword(text)


def tagged_as_it_is(source: str) -> list[tuple[str, str]]:
    tokens = [*chain.from_iterable(logical_lines(source))]
    return [(t.text, role) for t, role in zip(tokens, roles(source, tokens), strict=True)]


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
    monkeypatch.setattr(python_source, "library_files", lambda: files)
    monkeypatch.setattr(python_syntax, "library_files", lambda: files)
    return files


def test_splits_are_of_whole_files(library: list[Path]) -> None:
    data = PythonSyntax(block=8, validation_fraction=0.2, test_fraction=0.2)
    data.setup()
    assert data.notes == ["skipped 1 files that this Python cannot parse"]
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


def test_a_name_can_have_another_role_by_what_follows() -> None:
    for one, other, place in (
        ("f(x)", "f[x]", 0),
        ("a.b(x)", "a.b + x", 2),
        ("f(x=y)", "f(x-y)", 2),
    ):
        first, second = tagged(one), tagged(other)
        assert first[: place + 1] != second[: place + 1]
        assert [text for text, _ in first[: place + 1]] == [text for text, _ in second[: place + 1]]
