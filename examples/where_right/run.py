"""Which libraries compute an LSTM right? Measure them on the vectors of docs/vectors.py.

    python examples/where_right/run.py                     # all
    python examples/where_right/run.py keras mlx==0.30.0   # some, or another version

Each row of the table has an environment of its own, into which pip installs the library. This needs
Python alone, and some gigabytes. A library is a file in clients/: add one, and it is measured too.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CLIENTS = HERE / "clients"
# This project is on no index: pip installs the checkout.
THIS_PROJECT = "seqmodels-template"
HEADER = (
    "| library | version | as | device | cases | wrong | largest difference | first wrong step |"
)
SECONDS_PER_ROW = 1800
# Most libraries take a GPU by themselves.
NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


class NotInstalled(Exception):  # noqa: N818 a row of the table says so
    """With the last line that pip wrote."""


@dataclass(frozen=True)
class Row:
    """A library as it is measured: one of a client's `ROWS`, as `JAX: keras jax`."""

    client: Path
    library: str
    variant: str
    requirements: tuple[str, ...]

    @property
    def packages(self) -> list[str]:
        """The names of the packages, without extras and versions; the library's own is first."""
        return [re.match(r"[\w.-]+", requirement)[0] for requirement in self.requirements]

    def with_version(self, version: str) -> Row:
        """The same with another version of the library, such as `==0.30.0`."""
        library, *others = self.requirements
        name_and_extras = re.match(r"[\w.-]+(\[.*\])?", library)[0]
        return replace(self, requirements=(name_and_extras + version, *others))


@dataclass
class Result:
    """What was measured of a row."""

    row: Row
    versions: list[str] = field(default_factory=list)
    device: str = ""
    cases: list[dict[str, Any]] = field(default_factory=list)
    # Why there are no cases, or not all.
    failure: str = ""


def rows_of(client: Path) -> list[Row]:
    """What a client says of itself, without importing its library."""
    constants = {}
    for statement in ast.parse(client.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name in ("LIBRARY", "ROWS"):
                constants[name] = ast.literal_eval(statement.value)
    rows = []
    for text in constants["ROWS"]:
        variant, _, requirements = text.rpartition(": ")
        rows.append(Row(client, constants["LIBRARY"], variant, tuple(requirements.split())))
    return rows


def chosen_rows(words: Sequence[str], clients: Path = CLIENTS) -> list[Row]:
    """The rows of the clients that the command line names: `keras` is each file `keras*.py`, and
    `keras==3.8` another version of its library. Without a word, all.

    Raises:
        SystemExit: for a name that no client has.
    """
    files = sorted(clients.glob("*.py"))
    chosen: dict[Row, None] = {}
    for word in words or [file.stem for file in files]:
        name, version = re.fullmatch(r"(\w*)(.*)", word).groups()
        named_files = [file for file in files if file.stem == name]
        if not named_files:
            named_files = [file for file in files if file.stem.startswith(f"{name}_")]
        if not named_files:
            stems = ", ".join(file.stem for file in files)
            fail(f"no client is called {name!r}: take some of {stems}")
        for file in named_files:
            for row in rows_of(file):
                chosen[row.with_version(version) if version else row] = None
    return [*chosen]


def fail(message: str) -> NoReturn:
    """Ends with one line, as this project's other commands do."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def environment(requirements: Sequence[str], folder: Path) -> Path:
    """The interpreter of an environment with these packages and NumPy. It is made if it isn't
    there; delete its folder to take newer packages.

    Raises:
        NotInstalled: if pip fails.
    """
    name = re.sub(r"[^\w.=]+", "-", "_".join(sorted(requirements)))
    place = folder / name
    python = place / "bin" / "python"
    is_complete = place / "complete"
    if is_complete.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    packages = []
    for requirement in (*requirements, "numpy"):
        if requirement.startswith(THIS_PROJECT):
            packages += ["--editable", str(ROOT) + requirement.removeprefix(THIS_PROJECT)]
        else:
            packages.append(requirement)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    pip = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=clean_variables()
    )
    if pip.returncode:
        raise NotInstalled(last_line(pip.stderr))
    is_complete.touch()
    return python


def clean_variables() -> dict[str, str]:
    """The variables of this process, without what would lead an environment to other packages."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def collected(row: Row, python: Path, vectors: Path, device: str, folder: Path) -> Result:
    """What a client measures in an environment. If it dies, its cases until then, and where."""
    measurements = folder / "measurements.jsonl"
    measurements.unlink(missing_ok=True)
    words = [row.client, row.variant, device, vectors, measurements]
    command = [python, HERE / "measure.py", *words]
    failure = ""
    try:
        process = subprocess.run(
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=clean_variables() | (NO_GPU if device == "cpu" else {}),
            timeout=SECONDS_PER_ROW,
        )
        if process.returncode:
            failure = f"crashed ({process.returncode}): {last_line(process.stderr)}"
    except subprocess.TimeoutExpired:
        failure = f"was stopped after {SECONDS_PER_ROW} seconds"
    result = Result(row, versions_in(python, row.packages), device)
    lines = measurements.read_text(encoding="utf-8").splitlines() if measurements.exists() else []
    last_case = ""
    for line in lines:
        facts = json.loads(line)
        last_case = facts.get("begins", last_case)
        result.device = facts.get("device", result.device)
        if "case" in facts:
            result.cases.append(facts)
    if failure:
        result.failure = f"{failure}, in {last_case}" if last_case else failure
    return result


def versions_in(python: Path, packages: Sequence[str]) -> list[str]:
    """The installed versions of packages."""
    code = "import importlib.metadata, sys; print(*map(importlib.metadata.version, sys.argv[1:]))"
    command = [python, "-c", code, *packages]
    process = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=clean_variables()
    )
    return process.stdout.split()


def table_line(result: Result) -> str:
    """A row of the table."""
    compared = [case for case in result.cases if "difference" in case]
    wrong = [case for case in compared if "first_wrong" in case]
    cells = [result.row.library, version_cell(result), result.row.variant, result.device]
    cells.append(cases_cell(result))
    if compared:
        differences = [case["difference"] for case in compared]
        # nan is larger than any other difference.
        largest = max(differences, key=lambda number: math.inf if math.isnan(number) else number)
        cells += [str(len(wrong)), f"{largest:.2g}"]
    else:
        cells += ["", ""]
    return markdown_line([*cells, "; ".join(remarks(result, wrong))])


def remarks(result: Result, wrong: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Where a row begins to be wrong, and what kept it from being compared."""
    if wrong:
        yield f"`{wrong[0]['case']}`: {wrong[0]['first_wrong']}"
    errors = [case for case in result.cases if "error" in case]
    if errors:
        number = f"{len(errors)} errors, the first" if len(errors) > 1 else "error"
        yield f"{number} in `{errors[0]['case']}`: {errors[0]['error']}"
    if result.failure:
        yield result.failure


def version_cell(result: Result) -> str:
    """`3.15.1, jax 0.10.2`"""
    if not result.versions:
        return ""
    own_version, *other_versions = result.versions
    if result.row.packages[0] == THIS_PROJECT:
        own_version, _, _ = own_version.partition("+")  # without the commit
    others = zip(result.row.packages[1:], other_versions, strict=True)
    return ", ".join([own_version, *(f"{name} {version}" for name, version in others)])


def cases_cell(result: Result) -> str:
    """`45 of 60: no projections`"""
    if not result.cases:
        return "none"
    reasons = Counter(case["impossible"] for case in result.cases if "impossible" in case)
    num_compared = sum("difference" in case for case in result.cases)
    num_gradients = sum(case.get("gradients", False) for case in result.cases)
    cell = f"{num_compared} of {len(result.cases)}"
    if num_gradients:
        cell += f", {num_gradients} with gradients"
    if reasons:
        cell += ": " + ", ".join(f"no {reason}" for reason in reasons)
    return cell


def markdown_line(cells: Sequence[str]) -> str:
    plain = [" ".join(cell.replace("|", "/").split()) for cell in cells]
    return "| " + " | ".join(plain) + " |"


def table(results: Sequence[Result]) -> str:
    """The table in Markdown, below the machine and the day."""
    machine = f"{platform.platform()}, Python {platform.python_version()}, {date.today():%Y-%m-%d}"
    ordered = sorted(results, key=lambda result: result.row.library.lower())
    columns = HEADER.count("|") - 1
    lines = [machine, "", HEADER, "|" + "---|" * columns, *map(table_line, ordered)]
    return "\n".join(lines) + "\n"


def measured(rows: Sequence[Row], vectors: Path, device: str, folder: Path) -> Iterator[Result]:
    """Each row; one that fails is a result, too."""
    for row in rows:
        print(f"{row.library} {row.variant}: {' '.join(row.requirements)}", file=sys.stderr)
        try:
            python = environment(row.requirements, folder)
        except NotInstalled as error:
            yield Result(row, failure=f"not installed: {error}")
            continue
        yield collected(row, python, vectors, device, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", nargs="*", help="such as keras, or mlx==0.30.0; default: all")
    parser.add_argument(
        "--environments",
        type=Path,
        default=Path(".cache/where_right"),
        help="the folder of the environments; default: %(default)s",
    )
    parser.add_argument("--vectors", type=Path, help="rnn_vectors.npz; default: make it")
    parser.add_argument("--device", default="cpu", help="for clients that choose one, as cuda:0")
    parser.add_argument("--write", type=Path, help="a file for the table, as results.md")
    options = parser.parse_args()
    rows = chosen_rows(options.libraries)
    if options.vectors is not None and not options.vectors.is_file():
        fail(f"there is no file {options.vectors}")
    folder = options.environments.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    vectors = options.vectors
    if vectors is None:
        vectors = folder / "rnn_vectors.npz"
        python = environment(["torch"], folder)
        command = [python, ROOT / "docs" / "vectors.py", vectors]
        subprocess.run(command, check=True, env=clean_variables())
    results = [*measured(rows, vectors.resolve(), options.device, folder)]
    text = table(results)
    print(text, end="")
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
