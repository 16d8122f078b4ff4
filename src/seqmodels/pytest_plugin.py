"""For pytest: `--audit file.py:name` and the fixture `assert_clean`. Only they import PyTorch."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmodels.errors import UserError, choices

HELP = "as 'seqmodels audit' takes it: --audit 'my_package/models.py:build kind=per_step'"
OPTIONS: tuple[str, ...] = ("kind", "causal", "padding", "seed", "input.batch", "input.time")
OPTIONS += ("input.features", "input.vocabulary")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("seqmodels").addoption("--audit", action="append", default=[], help=HELP)


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    wanted = session.config.getoption("audit")
    items += [Audit.from_parent(session, name=f"audit {words}") for words in wanted]


class Audit(pytest.Item):
    """One `--audit`, as a test."""

    def runtest(self) -> None:
        from seqmodels.audit.find_model import audit_named
        from seqmodels.words import read_word

        target, words = target_and_words(self.name.removeprefix("audit "))
        options: dict[str, Any] = {}
        sizes: dict[str, Any] = {}
        for word in words:
            _, key, text = read_word(word)
            if key not in OPTIONS:
                raise UserError(f"--audit {key}: {choices(key, OPTIONS)}")
            group, _, name = key.rpartition(".")
            (sizes if group else options)[name] = _value(text or "")
        refuse(*audit_named(target, sizes, **options))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        told = isinstance(excinfo.value, AssertionError | UserError)
        return str(excinfo.value) if told else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


def target_and_words(text: str) -> tuple[str, list[str]]:
    """`my models/tagger.py:build kind=per_step` in parts: a path may hold blanks, so all that
    stands before the last words `key=value` is the target."""
    start_of_words = re.search(r"(\s+[\w.]+=\S*)*\s*$", text)
    assert start_of_words is not None  # It may be the end of the text.
    return text[: start_of_words.start()].strip(), start_of_words[0].split()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # It is a word.
        return text


@pytest.fixture
def assert_clean() -> Callable[..., None]:
    """Takes what `seqmodels.audit.assert_clean` takes, and says which line to mend."""

    def check(model: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        __tracebackhide__ = True
        from seqmodels.audit import audit

        refuse(audit(model, *arguments, **options), model)

    return check


def refuse(result: Any, model: Any) -> None:
    """Raises an AssertionError for what an audit has found in a model, or in a file."""
    __tracebackhide__ = True
    if result.findings:
        texts = []
        for finding in result.findings:
            place = model if isinstance(model, str) else _place(model, finding.name)
            texts.append(f"{place}: {finding.name}: {finding.evidence}\n  cure: {finding.cure}")
        raise AssertionError("\n".join(texts))


def _place(model: Any, name: str) -> str:
    """`file:line` to mend: of the mistake of this name in the class that its source shows, of
    another mistake there, or where `forward` or the function begins."""
    from seqmodels.lint import lint

    owner = model if inspect.isroutine(model) else type(model)
    source = inspect.unwrap(getattr(owner, "forward", owner))
    try:
        path = Path(inspect.getfile(source))
        source_lines, first_line = inspect.getsourcelines(source)
        end = first_line + len(source_lines)
        findings = [found for found in lint(path) if first_line <= found.line < end]
    except (TypeError, OSError, UserError):
        return "source unknown"
    lines_of_name = [found.line for found in findings if found.name == name]
    other_lines = [found.line for found in findings]
    line = [*lines_of_name, *other_lines, first_line][0]
    return f"{os.path.relpath(path)}:{line}"
