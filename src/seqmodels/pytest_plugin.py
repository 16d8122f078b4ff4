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

AUDIT_HELP = "as 'seqmodels audit' takes it: --audit 'my_package/models.py:build kind=per_step'"
# The keys that may stand behind the target of an `--audit`.
AUDIT_OPTIONS: tuple[str, ...] = (
    "kind",
    "causal",
    "padding",
    "seed",
    "input.batch",
    "input.time",
    "input.features",
    "input.vocabulary",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("seqmodels")
    group.addoption("--audit", action="append", default=[], help=AUDIT_HELP)


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    texts = session.config.getoption("audit")
    items += [Audit.from_parent(session, name=f"audit {text}") for text in texts]


class Audit(pytest.Item):
    """The test that an `--audit` on the command line stands for."""

    def runtest(self) -> None:
        from seqmodels.audit.find_model import audit_named
        from seqmodels.words import read_word

        target, words = target_and_words(self.name.removeprefix("audit "))
        options: dict[str, Any] = {}
        input_sizes: dict[str, Any] = {}
        for word in words:
            _, key, text = read_word(word)
            if key not in AUDIT_OPTIONS:
                raise UserError(f"--audit {key}: {choices(key, AUDIT_OPTIONS)}")
            value = _value(text or "")
            if key.startswith("input."):
                input_sizes[key.removeprefix("input.")] = value
            else:
                options[key] = value
        result, model = audit_named(target, input_sizes, **options)
        refuse(result, model)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, AssertionError | UserError):
            return str(excinfo.value)  # It says all, without a traceback.
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


def target_and_words(text: str) -> tuple[str, list[str]]:
    """The target of `my models/tagger.py:build kind=per_step`, and the words `key=value` behind it.

    A path may hold blanks, so all that stands before the last words is the target.
    """
    words = re.search(r"(\s+[\w.]+=\S*)*\s*$", text)
    assert words is not None  # The pattern matches at the end of each text.
    target = text[: words.start()]
    return target.strip(), words[0].split()


def _value(text: str) -> Any:
    """A number, or true, as JSON reads it; else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@pytest.fixture
def assert_clean() -> Callable[..., None]:
    """Gives `seqmodels.audit.assert_clean`, with a message that names the line to mend."""

    def check(model: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        __tracebackhide__ = True
        from seqmodels.audit import audit

        refuse(audit(model, *arguments, **options), model)

    return check


def refuse(result: Any, model: Any) -> None:
    """Raises an AssertionError for all that an audit has found in a model, or in a file."""
    __tracebackhide__ = True
    messages = []
    for finding in result.findings:
        location = model if isinstance(model, str) else _file_and_line(model, finding.name)
        messages.append(f"{location}: {finding.name}: {finding.evidence}\n  cure: {finding.cure}")
    if messages:
        raise AssertionError("\n".join(messages))


def _file_and_line(model: Any, mistake: str) -> str:
    """`file:line` to mend in the source of a model: its `forward`, or the function that it is.

    The line is the one at which the linter finds the same mistake; or another mistake; or the
    first.
    """
    from seqmodels.lint import lint

    function_or_class = model if inspect.isroutine(model) else type(model)
    function_or_class = getattr(function_or_class, "forward", function_or_class)
    source = inspect.unwrap(function_or_class)
    try:
        path = Path(inspect.getfile(source))
        source_lines, first_line = inspect.getsourcelines(source)
        findings_of_file = lint(path)
    except (TypeError, OSError, UserError):
        return "source unknown"

    end = first_line + len(source_lines)
    findings = [finding for finding in findings_of_file if first_line <= finding.line < end]
    lines = [finding.line for finding in findings if finding.name == mistake]
    lines += [finding.line for finding in findings]
    lines.append(first_line)
    return f"{os.path.relpath(path)}:{lines[0]}"
