"""The tests that need the device."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import deque
from collections.abc import Iterator

from accelerator_parts import ROOT, Line, Options


def tests(options: Options) -> Iterator[Line]:
    if options.smoke:
        yield "Left out with `--smoke`."
        yield "tests", None, "left out with --smoke"
        return
    if not importlib.util.find_spec("beartype"):
        yield "Left out: tests/conftest.py needs beartype, which isn't installed."
        yield "tests", None, "beartype isn't installed"
        return
    # in place of the project's own flags, which need pytest-xdist
    own = ["-o", "addopts=", "--import-mode=importlib", "-p", "no:seqmodels"]
    own += ["-p", "no:cacheprovider", "--jaxtyping-packages=seqmodels,beartype.beartype"]
    asked = ["-m", "device", "-v", "--tb=line", "-rN"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *own, *asked, *marked()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    passed, failed, last = 0, 0, deque[str](maxlen=9)
    for line in map(str.strip, process.stdout):
        passed += " PASSED" in line
        last.extend([line.strip("= ")] if line else [])
        if " FAILED" in line or " ERROR" in line or line.startswith("ERROR "):
            failed += 1
            yield f"- {line}"
        elif line.startswith(f"{ROOT}/") and "Error" in line:  # why, after all tests
            yield f"- {line.removeprefix(f'{ROOT}/')[:200]}"
        yield "tests", False if failed else None, f"{failed} failed, {passed} passed so far"
    if not passed and not failed:  # pytest itself failed
        yield from last
    yield f"\n{last[-1]}"
    yield "tests", process.wait() == 0 if passed or failed else None, last[-1]


def marked() -> list[str]:
    """The files with such tests: to collect all takes longer than these take to run."""
    files = sorted(ROOT.glob("tests/**/test_*.py"))
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    return [str(f) for f, text in texts.items() if "mark.device" in text]
