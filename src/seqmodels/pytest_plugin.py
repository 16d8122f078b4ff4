"""For pytest: `pytest --audit my_package.models:build`, and the fixture `assert_clean`.

PyTorch is imported where a model is audited, and not before.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmodels.errors import UserError, choices

HELP = (
    "audit a model, its class or a function that builds it; options may follow as in 'seqmodels "
    'audit\': --audit "my_package.models:build input.features=12 kind=per_step"'
)
SIZES = ("features", "vocabulary", "batch", "time")
OPTIONS = (*(f"input.{size}" for size in SIZES), "kind", "causal", "padding", "seed")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("seqmodels")
    group.addoption("--audit", action="append", default=[], metavar="MODULE:NAME", help=HELP)


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    wanted = session.config.getoption("audit")
    items += [Audit.from_parent(session, name=f"audit {words}", words=words) for words in wanted]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if "GITHUB_ACTIONS" in os.environ:  # which shows these lines beside the code
        for report in terminalreporter.getreports("failed"):
            for name, line in report.user_properties:
                if name == "github":
                    terminalreporter.write_line(line)


class Audit(pytest.Item):
    """One `--audit`, as a test."""

    def __init__(self, *, words: str, **options: Any) -> None:
        super().__init__(**options)
        self.words = words

    def runtest(self) -> None:
        from seqmodels.audit.find_model import find_model, random_batch, sizes_of

        target, *words = self.words.split()
        options = dict(word.partition("=")[::2] for word in words)
        for key in options.keys() - {*OPTIONS}:
            raise UserError(f"--audit {key}: {choices(key, OPTIONS)}")
        values = {key: _value(text) for key, text in options.items()}
        if "" not in sys.path:
            sys.path.insert(0, "")  # as python -m pytest does
        model = find_model(target)
        sizes = {size: values.pop(f"input.{size}", None) for size in SIZES}
        given = {size: value for size, value in sizes.items() if value is not None}
        if not {"features", "vocabulary"} & {*given}:
            given |= sizes_of(model)
        batch = {"features": None, "vocabulary": None, "batch": 4, "time": 20} | given
        inputs = random_batch(**batch, padding=values.get("padding") or 0)
        check(self, model, *inputs, **values)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        told = isinstance(excinfo.value, AssertionError | UserError)
        return str(excinfo.value) if told else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


@pytest.fixture
def assert_clean(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Takes what `seqmodels.audit.assert_clean` takes, and says which line to mend."""

    def assert_clean(model: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        __tracebackhide__ = True
        check(request.node, model, *arguments, **options)

    return assert_clean


def check(item: pytest.Item, model: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Raises an AssertionError that lists what an audit finds, and where the model is written."""
    __tracebackhide__ = True
    from seqmodels.audit import audit

    path, line = _place(model)
    findings = audit(model, *arguments, **options).findings
    for finding in findings:
        text = f"{finding.evidence}; {finding.advice}".replace("%", "%25")
        place = f"file={path},line={line},title={finding.name}"
        item.user_properties.append(("github", f"::{finding.severity} {place}::{text}"))
    if findings:
        texts = (f"{f.name}: {f.evidence}\n  cure: {f.advice}" for f in findings)
        raise AssertionError("\n".join(f"{path}:{line}: {text}" for text in texts))


def _place(model: Any) -> tuple[str, int]:
    """The file and line to mend: of a mistake in the class that its source shows, or where
    `forward` or the function begins."""
    import inspect

    from torch import nn

    from seqmodels.lint import lint

    owner = type(model) if isinstance(model, nn.Module) else model
    try:
        source = inspect.unwrap(getattr(owner, "forward", owner))
        path, (lines, first) = Path(inspect.getfile(source)), inspect.getsourcelines(source)
        own = range(first, first + len(lines))
        seen = [mistake.line for mistake in lint(path) if mistake.line in own]
    except (TypeError, OSError, UserError):
        return "", 0
    return os.path.relpath(path), (seen or [first])[0]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
