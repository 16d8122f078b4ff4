"""For pytest: `--audit file.py:name` and the fixture `assert_clean`. Only they import PyTorch."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from contextlib import suppress
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

        _, target, *words = self.name.split()
        given: dict[str, dict[str, Any]] = {"": {}, "input": {}}
        for key, _, value in (word.partition("=") for word in words):
            if key not in OPTIONS:
                raise UserError(f"--audit {key}: {choices(key, OPTIONS)}")
            group, _, name = key.rpartition(".")
            given[group][name] = value
            with suppress(ValueError):  # a word
                given[group][name] = json.loads(value)
        refuse(*audit_named(target, given["input"], **given[""]))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        told = isinstance(excinfo.value, AssertionError | UserError)
        return str(excinfo.value) if told else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


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
        place = model if isinstance(model, str) else _place(model)
        texts = (f"{place}: {f.name}: {f.evidence}\n  cure: {f.advice}" for f in result.findings)
        raise AssertionError("\n".join(texts))


def _place(model: Any) -> str:
    """`file:line` to mend: of a mistake in the class that its source shows, or where
    `forward` or the function begins."""
    from seqmodels.lint import lint

    owner = model if inspect.isroutine(model) else type(model)
    source = inspect.unwrap(getattr(owner, "forward", owner))
    try:
        path, (lines, first) = Path(inspect.getfile(source)), inspect.getsourcelines(source)
        seen = [each.line for each in lint(path) if 0 <= each.line - first < len(lines)]
    except (TypeError, OSError, UserError):
        return "source unknown"
    return f"{os.path.relpath(path)}:{(seen or [first])[0]}"
