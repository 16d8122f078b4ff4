"""`data=python_syntax`: each token of Python source with its role, exactly."""

# ruff: noqa: E501 (a source and its roles on one line)
from __future__ import annotations

import io
import keyword
import sys
import textwrap
import tokenize
from itertools import chain
from pathlib import Path

import pytest

from seqmodels.data.sources import library_files
from seqmodels.errors import UserError
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
        ("import os.path as p, re\np.x\nre", "os:name path:attribute p:assigned re:assigned p:name x:attribute re:name"),
        ("from ..a import (b as c,\n d)\nc(d)", "a:attribute b:name c:assigned d:assigned c:call d:name"),
        ("from a import *", "a:name"),
        ("def f(a, /, b=len, *c, d, **e): return a, x", "f:assigned a:parameter b:parameter len:name c:parameter d:parameter e:parameter a:name x:name"),
        ("async def f(): await g()", "f:assigned g:call"),
        ("class A(B, metaclass=M):\n  x = 1\n  y: int = x\n  def f(self): return self.x + x", "A:assigned B:name metaclass:argument M:name x:assigned y:assigned int:name x:name f:assigned self:parameter self:name x:attribute x:name"),
        ("a.b.c(d=e)(f).g", "a:name b:attribute c:call d:argument e:name f:name g:attribute"),
        ("print(x); print; f(); f", "print:call x:name print:name f:call f:name"),
        ("len = 1\nlen(x)", "len:assigned len:call x:name"),
        ("@a.b(c)\n@property\n@d\ndef f(): pass", "a:name b:call c:name property:name d:name f:assigned"),
        ("def f(x: a.B[int] = y, *z: C) -> D: w: E", "f:assigned x:parameter a:name B:attribute int:name y:name z:parameter C:name D:name w:assigned E:name"),
        ("def f(x): return lambda y=x, *, z=x: x + y + z + w", "f:assigned x:parameter y:parameter x:name z:parameter x:name x:name y:name z:name w:name"),
        ("lambda: (y := x) + y", "y:assigned x:name y:name"),
        ("x = [y for y in z if y for z in y]", "x:assigned y:name y:assigned z:name y:name z:assigned y:name"),
        ("def f():\n  [y := x for x in z]\n  return y", "f:assigned y:assigned x:name x:assigned z:name y:name"),
        ("def f():\n  global x\n  x = y = 1\n  def g():\n    nonlocal y, z\n    y = x, y\n  z = 0", "f:assigned x:name x:assigned y:assigned g:assigned y:name z:name y:assigned x:name y:name z:assigned"),
        ("try: pass\nexcept (A, B) as e: e", "A:name B:name e:assigned e:name"),
        ("def f():\n  try: pass\n  except ((A)) as e: raise E(e) from e", "f:assigned A:name e:assigned E:call e:name e:name"),
        ("with a as b, c() as (d, e.f): pass", "a:name b:assigned c:call d:assigned e:name f:attribute"),
        ("def f():\n  for x in y: del x", "f:assigned x:assigned y:name x:name"),
        ("(a)(b); a.b[c](d)", "a:call b:name a:name b:attribute c:name d:name"),
        ("é = 'ü'; ö.ä(ñ=é)", "é:assigned ö:name ä:call ñ:argument é:name"),
        ("x = 'ü'; y.z", "x:assigned y:name z:attribute"),
        ("f'{x + y.z(a=b)}' + c", "c:name"),
        ("f(*a, **b)", "f:call a:name b:name"),
        ("x.y += z; x += z", "x:name y:attribute z:name x:assigned z:name"),
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
        "match:other match:name case:other case:name A:attribute x:argument y:argument "
        "z:assigned _:other rest:assigned pass:other case:other v:assigned more:assigned if:other "
        "v:name pass:other case:other int:name None:other as:other n:assigned "
        "pass:other type:assigned match:call case:name type:name case:attribute _:name"
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_type_parameters_are_parameters() -> None:
    assert names("def f[T: int, *U, **P](x: T): return T, x") == (
        "f:assigned T:parameter int:name U:parameter P:parameter x:parameter T:name T:name x:name"
    )
    assert names("class A[T](B[T]): x: T\ntype C[T] = list[T]") == (
        "A:assigned T:parameter B:name T:name x:assigned T:name "
        "C:assigned T:parameter list:name T:name"
    )


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
        ("x", "name"), ("x", "attribute"), ("x", "name"), ("x", "assigned"),
    ]  # fmt: skip
