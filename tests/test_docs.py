"""What README.md and the pages in docs/ show is what happens."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
import runpy
import shutil
import sys
import tomllib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from seqmodels.audit import ADVICE
from seqmodels.audit.findings import STREAM_ADVICE
from tests.audit.bank import WRONG
from tests.audit.bank_calls import CALLS
from tests.audit.bank_sorting import SORTED_WRONG
from tests.conftest import ROOT, Config, run_script
from tests.in_process import run_in_process
from tests.pages import (
    Command,
    anchors,
    links,
    prose,
    python_blocks,
    read,
    run,
    shell_lines,
    words_missing,
)
from tests.shipped import lacks

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): read(path) for path in sorted(DOCS.rglob("*.md"))}
PAGES["README.md"] = read(ROOT / "README.md")
LINKING = sorted(  # what GitHub shows as pages
    str(path.relative_to(ROOT))
    for folder in ("docs", "examples", "benchmarks", ".github")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".md", ".ipynb")
) + [path.name for path in ROOT.glob("*.md")]
SITE = runpy.run_path(str(DOCS / "pages.py"))
COMMANDS: dict[str, Command] = {}  # by line, with what any page shows of its output
for page in PAGES.values():
    for command in shell_lines(page):
        before = COMMANDS.get(command.line, Command("")).output
        COMMANDS[command.line] = replace(command, output=before + command.output)
SCRIPTS = [line for line in COMMANDS if "python scripts/" in line]
TRAININGS = [line for line in SCRIPTS if "train.py" in line and not re.search("--(help|cfg)", line)]
OTHERS = [line for line in SCRIPTS if line not in TRAININGS]
SWEEP = "python scripts/train.py -m model.head=last_hidden,mean_pool seed=0,1,2"
WORDS = [line for line in TRAININGS if "folder=runs/my_words" in line]
QUICK = ("baseline=false", "model.encoder.hidden_size=8", "trainer=cpu", "trainer.max_epochs=1")
LACKING = (  # what a test does not have: a device, a cluster, a download, an extra, hours
    *("=gpu", "=mps", "trainer=ddp", "hydra/launcher=", "data=uea", "logger="),
    *("experiment=study", "hparams_search=", "vectors=glove"),
)
EXTRAS = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]


def can_be_trained(line: str) -> bool:
    downloads = "experiment=language_model" in line and "data=" not in line  # or takes minutes
    return not downloads and not any(lacking in line for lacking in LACKING)


def files() -> dict[str, str]:
    """What the pages take for there."""
    rows = [f"a {word} film,{label}" for word, label in (("fine", "good"), ("dull", "bad"))] * 30
    tagged = "one NUM B-NP\nfilm NOUN I-NP\n\nis VERB O\nfilm NOUN B-NP\n\n" * 30
    tutorial, *_ = python_blocks(PAGES["docs/why_does_my_lstm_depend_on_the_batch.md"])
    start, sites = datetime(2024, 1, 1), ("north", "south")
    hours = [
        f"{start + timedelta(hours=n)},{site},{n % 24 + n % 7},{n % 5}"
        for site in sites
        for n in range(1_000)
    ]
    return {
        "my.csv": "\n".join(["text,label", *rows * 10]),
        "new.csv": "\n".join(["text,label", *rows]),
        "reviews.csv": "\n".join(["review,sentiment", *rows * 10]),
        "scores.csv": "text,stars,votes\n" + "".join(f"a {n} film,{n % 5},{n}\n" for n in range(9)),
        "sms.tsv": "\n".join("\t".join(reversed(row.split(","))) for row in rows),
        "my.vec": "".join(f"{word} {len(word)} 0.5\n" for word in ("a", "fine", "dull", "film")),
        "book.txt": "def all happy families are alike.\n" * 200,
        "power.csv": "\n".join(["time,site,load,wind", *hours]),
        "notes/old/a.md": "a note, and another note.\n" * 300,
        "pairs.tsv": "source\ttarget\n" + "".join(f"film {n}\tf l {n}\n" for n in range(60)),
        "sources.txt": "film 1\nfilm 2\n",
        "new.txt": "one film\nfilm\n",
        "train.txt": tagged,
        "test.txt": tagged,
        "my_heads.py": next(code for code in python_blocks(PAGES["README.md"]) if "(Head" in code),
        "my_package/module.py": f"{tutorial}\n\nbuild_model = Tutorial\n",
    }


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name, and with runs to use."""
    folder = tmp_path_factory.mktemp("workshop")
    for name, content in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "examples").symlink_to(ROOT / "examples")
    sweep = (*COMMANDS[SWEEP].words[1:], "data=text", "data.train=my.csv")
    no_pictures = ("callbacks.dataflow=null", "callbacks.pictures=null")
    windows = "model=forecaster data=windows data.file=power.csv data.target=load data.time=time"
    streams = ("data.batch_size=4", "data.window=16", "data.evaluation_streams=2")
    for words, shown in (
        ((*sweep, "hydra.sweep.dir=runs/sweep", *no_pictures), COMMANDS[SWEEP].output),
        (("experiment=char_lm", "data.train=book.txt", *streams, "folder=runs/language_model"), ""),
        ((*windows.split(), "data.series=site", "folder=runs/forecaster"), ""),
        (("model=tagger", "data=tags", "data.train=train.txt", "folder=runs/tagger"), ""),
        (("model=seq2seq", "data=pairs", "data.train=pairs.tsv", "folder=runs/seq2seq"), ""),
        *(((*COMMANDS[line].words[1:], *streams), "") for line in WORDS),
    ):
        if not lacks(" ".join(words)):
            done = run_script(folder, "train.py", *QUICK, *words)
            assert words_missing(shown, done.stdout) == set()
    [job] = (folder / "runs" / "sweep").glob("*head-last_hidden_seed-0_*")
    shutil.copytree(job, folder / "runs" / "folder")
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of PyTorch's own exporter
@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if python_blocks(text)])
def test_the_code_of_a_page_prints_what_it_says(page: str, request: pytest.FixtureRequest) -> None:
    blocks = python_blocks(PAGES[page])
    if page == "README.md":  # the first shows lines of what you have; tests/test_readme.py
        blocks = blocks[1:]
    if "runs/" in PAGES[page]:
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("workshop"))
    names: dict[str, object] = {"__name__": "page"}
    for code in blocks:
        run(code.replace("<folder>", "folder"), names)


@pytest.mark.parametrize("line", TRAININGS)
@pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher:UserWarning")  # as the scripts do
def test_a_training_command_composes(line: str, config: Config) -> None:
    config(*COMMANDS[line].overrides)


@pytest.mark.long
@pytest.mark.parametrize("line", [n for n in TRAININGS if can_be_trained(n) and n != SWEEP])
def test_a_training_command_trains_and_prints_what_the_page_shows(
    line: str, workshop: Path
) -> None:
    command = COMMANDS[line]
    words = command.overrides if "-m" in command.words else command.words[1:]
    words = [word for word in words if not word.startswith("folder=")]  # the workshop has it
    quick = "trainer.max_epochs=1" if command.output else "trainer.fast_dev_run=true"
    done = run_script(workshop, "train.py", *words, *([] if "resume=" in line else [quick]))
    assert words_missing(command.output, done.stdout) == set()


@pytest.mark.long
@pytest.mark.parametrize("line", OTHERS)
def test_another_command_does_what_the_page_shows(line: str, workshop: Path) -> None:
    command = COMMANDS[line]
    script = ROOT / command.words[0]
    done = run_in_process(script, command.words[1:], workshop, command.stdin)
    assert done.returncode == (script.stem in ("audit", "lint")), done.stderr  # 1: findings
    assert words_missing(command.output, done.stdout) == set()


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in SCRIPTS])
def test_any_other_line_names_what_is_there(line: str) -> None:
    install = re.search(r"pip install -e \S+( --extra-index-url \S+)?( && pytest)?$", line)
    script = re.fullmatch(r"(?:python|bash) ([\w./]+)( [\w.]+)?", line)
    module = re.fullmatch(r"python -m ([\w.]+)", line)
    if install:
        assert set(re.findall(r"\w+", re.sub(r"^[^[]*|].*", "", line))) <= set(EXTRAS)
    elif module:
        assert importlib.util.find_spec(module[1])
    else:
        assert script and (ROOT / script[1]).is_file(), line


# ---------------------------------------------------------------- links, and the site


def dead_links(file: Path) -> list[str]:
    """What a page links that is not there, but a file of a task whose folder is deleted."""
    dead = []
    for path, anchor in links(read(file)):
        target = file.parent / path if path else file
        known = not anchor or (target.is_file() and anchor in anchors(read(target)))
        if not (target.exists() and known) and not lacks(path.replace("/", ".")):
            dead.append(f"{path}#{anchor}")
    return dead


@pytest.mark.parametrize("page", LINKING)
def test_a_page_is_whole_on_github(page: str) -> None:
    assert dead_links(ROOT / page) == []
    text = re.sub(r"<!--.*?-->", "", prose(read(ROOT / page)), flags=re.DOTALL)
    # inclusions, documentation of code, attributes of blocks, frames
    assert not re.search(r"--8<--|^:::|^!!!|<iframe", text, re.MULTILINE)
    assert not re.search(r"--8<--|^``` \{", read(ROOT / page), re.MULTILINE)


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Here, and `there`\n```\n# code\n```\n")
    page = tmp_path / "page.md"
    page.write_text("[a](other.md) [b](other.md#here-and-there) `[c](d)` <https://e.org>\n")
    assert dead_links(page) == []
    page.write_text("# Title\n[a](no.md) ![b](other.md#code) [c](#titles) [d](#title)\n")
    assert dead_links(page) == ["no.md#", "other.md#code", "#titles"]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_of_a_file_is_in_it(page: str) -> None:
    """A block after a line that ends with the link to a file."""
    block = r"\]\(([^)]+\.(?:py|yaml))\)[^\n]*:\n\n```(?:python|yaml)\n(.*?)^```$"
    for path, code in re.findall(block, PAGES[page], re.DOTALL | re.MULTILINE):
        assert code in read((ROOT / page).parent / path), path


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/api/")])
def test_the_names_of_the_api_are_in_the_files_that_it_links(page: str) -> None:
    entries = re.findall(r"^- \[`(.*)`\]\((.*)\)$", PAGES[page], re.MULTILINE)
    assert entries and len(entries) == len(links(PAGES[page]))
    for name, path in entries:
        if not lacks(name):
            module = getattr(pkgutil.resolve_name(name), "__module__", name)
            assert sys.modules[module].__file__ == str(((ROOT / page).parent / path).resolve())


def test_every_page_of_the_site_is_whole_too(tmp_path: Path) -> None:
    SITE["make"](ROOT, tmp_path)
    (tmp_path / "explained").mkdir()
    (tmp_path / "explained" / "dataflow.html").touch()  # docs/explained.py makes it
    (tmp_path / "rnn_vectors.npz").touch()  # docs/vectors.py makes it
    assert [*filter(None, map(dead_links, tmp_path.rglob("*.md")))] == []
    example = read(tmp_path / "examples" / "waves.py.md")
    assert example.startswith("# examples/waves.py\n\n````python\n")
    assert "\n::: seqmodels.batch.SequenceBatch\n" in read(tmp_path / "api" / "networks.md")
    assert '\n<iframe class="explained"' in read(tmp_path / "which_tensor.md")
    menu = re.findall(r'= "([\w/]+\.md)"', read(ROOT / "zensical.toml"))
    pages = {name.removeprefix("docs/") for name in PAGES} - {"README.md"}
    assert sorted(menu) == sorted([*pages, "index.md", "notebook.md"])


def test_only_a_link_to_a_file_of_a_task_may_be_dead_on_the_site(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (page := tmp_path / "README.md").write_text("All: [`a.yaml`](configs/data/a.yaml).\n")
    SITE["make"](tmp_path, tmp_path / "made")
    assert read(tmp_path / "made" / "index.md") == "All: `a.yaml`.\n"
    page.write_text("[A page](docs/a.md)\n")
    with pytest.raises(FileNotFoundError):
        SITE["make"](tmp_path, tmp_path / "made")


def test_a_dead_link_of_the_built_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "style.css").touch()
    (tmp_path / "index.html").write_text('<link href="style.css"><a href="page/#there">')
    page = tmp_path / "page" / "index.html"
    page.write_text('<p id="there"><a href="..">a</a><a href="#there"><a href="https://e.org">')
    assert [*SITE["dead"](tmp_path)] == []
    page.write_text('<a href="../no/"><img src="no.svg"><a href="#no"><p>--8&lt;-- "a.py"')
    assert [*SITE["dead"](tmp_path)] == [
        "index.html: page/#there",
        *(f"page/index.html: {dead}" for dead in ("--8<--", "../no/", "no.svg", "#no")),
    ]


# ---------------------------------------------------------------- tables, and the notebook


def test_the_speeds_are_those_of_the_benchmarks() -> None:
    table = PAGES["docs/speed.md"].partition("| ratio |\n")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[1:]]
    assert rows
    results = "".join(map(read, (ROOT / "benchmarks" / "results").glob("*.md")))
    for *_, setting, ratio in rows:
        assert re.search(rf"^\| {re.escape(setting)} \|.* {ratio} \(?", results, re.M), setting


# the common mistakes of the page, in its order, by their names in the banks in tests/audit/
MISTAKES = """
    last column; mean of padded steps; maximum of padded steps; attention without a mask
    tagger without packing; decoder from the state of padding; normed over padding; h_n viewed
    tagger across rows; sorted, never unsorted; unsorted by the order
    decoder that sees what it predicts; bidirectional language model; decoder from h for both
    layers taken for directions; state of the neighbour; random start; dropout in evaluation
    proj_size viewed; last step of two directions; first and last step; h_n[-1] of two directions
    lowest layer; tagger of the forward half; forecast of the last steps; mask one step short
"""


def test_the_page_names_mistakes_by_what_the_audit_finds() -> None:
    # that it finds them is tested in tests/audit/test_audit.py, for each name in WRONG
    _, first, second = PAGES["docs/audit.md"].split("| finding |")
    table, of_streams = first.partition("\n\n")[0], second.partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", table, re.MULTILINE)
    findings = [[finding] for finding, items in rows for _ in items.split("; ")]
    found = {name: case.found for name, case in (WRONG | SORTED_WRONG | CALLS).items()}
    assert findings == [found[name] for name in re.split(r"; |\n +", MISTAKES.strip())]
    assert {finding for finding, _ in rows} == set(ADVICE)
    assert re.findall(r"^\| `(\w+)` \|", of_streams, re.MULTILINE) == [*STREAM_ADVICE]


@pytest.mark.slow
def test_the_notebook_prints_what_it_shows() -> None:
    committed, again = (nbformat.read(DOCS / "notebook.ipynb", as_version=4) for _ in range(2))
    NotebookClient(again, timeout=300, coalesce_streams=True).execute()
    for before, after in zip(committed.cells, again.cells, strict=True):
        assert before.get("outputs") == after.get("outputs"), before.source
