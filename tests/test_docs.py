"""What README.md and the pages in docs/ show is what happens."""

from __future__ import annotations

import io
import json
import re
import runpy
import shutil
import tomllib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

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
MISTAKES = runpy.run_path(str(DOCS / "mistakes.py"))
COMMANDS: dict[str, Command] = {}  # by line, with what any page shows of its output
for page in PAGES.values():
    for command in shell_lines(page):
        before = COMMANDS.get(command.line, Command("")).output
        COMMANDS[command.line] = replace(command, output=before + command.output)
SCRIPTS = [line for line in COMMANDS if "python scripts/" in line]
TRAININGS = [line for line in SCRIPTS if "train.py" in line and not re.search("--(help|cfg)", line)]
OTHERS = [line for line in SCRIPTS if line not in TRAININGS]
SWEEP = "python scripts/train.py -m model.head=last_hidden,mean_pool seed=0,1,2"
QUICK = ("baseline=false", "model.encoder.hidden_size=8", "trainer=cpu", "trainer.max_epochs=1")
LACKING = (  # what a test does not have: a device, a cluster, a download, an extra, hours
    *("=gpu", "=mps", "trainer=ddp", "hydra/launcher=", "data=uea", "logger="),
    *("experiment=study", "hparams_search=", "vectors=glove"),
)
ARCHIVED = "@problemName Mine\n@targetLabel true\n@data\n" + "1,2,3:0.5\n2,1:1.5\n" * 9
EXTRAS = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]


def can_be_trained(line: str) -> bool:
    downloads = "experiment=language_model" in line and "data=" not in line  # or takes minutes
    return not downloads and not any(lacking in line for lacking in LACKING)


def of_series() -> dict[str, str]:
    """Tables of series: a row for each step, or for each series (`engines.parquet`, in JSON)."""
    draw, people = np.random.default_rng(0), ("ann", "bob", "eve", "joe", "kim", "lea")
    files, engines = dict[str, str](), []
    trips, steps, nights, walks = list[str](), list[str](), list[str](), list[str]()
    labels, table = ["file,activity,user"], ["trip,activity,user,age,sex"]
    for n in range(48):
        activity, user = ("run", "sit", "walk")[n % 3], people[n // 8]
        strength, split = (2, 0.1, 1)[n % 3], "test" if user == "joe" else "train"
        own = [
            f"{t / 2},{x:.2f},{y:.2f}" for t, (x, y) in enumerate(draw.normal(0, strength, (9, 2)))
        ]
        trips += [f"trip {n},{step},{activity},{user},{split},{1 + n % 2}" for step in own]
        steps += [f"trip {n},{step}" for step in own]
        name = f"{activity}_{user}_{n}.csv"
        files[f"recordings/{name}"] = "\n".join(["time,ax,ay", *own])
        labels.append(f"{name},{activity},{user}")
        table.append(f"trip {n},{activity},{user},{20 + n // 8},{'fm'[n // 8 % 2]}")
        levels = draw.normal(n % 3, 1, 9)
        stages = ["deep" if level > 1 else "wake" for level in levels]
        nights += [
            f"night {n},{t},{level:.2f},{'' if t == 4 else 60 + t},{stage}"
            for t, (level, stage) in enumerate(zip(levels, stages, strict=True))
        ]
        walks += [f"{n},{level:.2f},{level / 2:.2f}" for level in levels]
        engine = {"engine": f"e{n}", "temp": [*levels], "pressure": [*levels / 2]}
        engines.append(engine | {"model_type": "ABC"[n % 3], "remaining_life": 9.5 * n})
    draws = draw.normal(0, 1, (40, 6)).round(2).tolist()
    wide = [f"{n},{'ab'[n % 2]},{','.join(map(str, row))}" for n, row in enumerate(draws)]
    tests = [f"s{n // 4};{row[0]};{row[1]};{'ab'[n // 4 % 2]}" for n, row in enumerate(draws)]
    return files | {
        "wide.csv": "\n".join(["id,label,t0,t1,t2,t3,t4,t5", *wide]),
        "xy.csv": "\n".join(["id,label,x0,x1,x2,y0,y1,y2", *wide]),
        "tests.csv": "\n".join(["test;pressure;temp;label", *tests]).replace(".", ","),
        "trips.csv": "\n".join(["trip,time,ax,ay,activity,user,split,weight", *trips]),
        "steps.csv": "\n".join(["trip,time,ax,ay", *steps]),
        "people.csv": "\n".join(table),
        "recordings/labels.csv": "\n".join(labels),
        "nights.csv": "\n".join(["night,epoch,eeg,pulse,stage", *nights]),
        "walks.csv": "\n".join(["walk,ax,speed", *walks]),
        "engines.parquet": "\n".join(map(json.dumps, engines)),
        **{f"Mine_{split}.ts": ARCHIVED for split in ("TRAIN", "TEST")},
    }


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
        **of_series(),
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
        if name.endswith(".parquet"):
            pd.read_json(io.StringIO(content), lines=True).to_parquet(folder / name)
        else:
            (folder / name).write_text(content)
    (folder / "examples").symlink_to(ROOT / "examples")
    sweep = (*COMMANDS[SWEEP].words[1:], "data=text", "data.train=my.csv")
    no_pictures = ("callbacks.dataflow=null", "callbacks.pictures=null")
    windows = "model=forecaster data=windows data.file=power.csv data.target=load data.time=time"
    series = "data=series data.train=trips.csv data.series=trip data.label_column=activity"
    streams = ("data.batch_size=4", "data.window=16", "data.evaluation_streams=2")
    for words, shown in (
        ((*sweep, "hydra.sweep.dir=runs/sweep"), COMMANDS[SWEEP].output),
        (("experiment=char_lm", "data.train=book.txt", *streams, "folder=runs/language_model"), ""),
        ((*windows.split(), "data.series=site", "folder=runs/forecaster"), ""),
        ((*series.split(), "data.inputs=[ax,ay]", "folder=runs/series"), ""),
        (("model=tagger", "data=tags", "data.train=train.txt", "folder=runs/tagger"), ""),
        (("model=seq2seq", "data=pairs", "data.train=pairs.tsv", "folder=runs/seq2seq"), ""),
    ):
        if not lacks(" ".join(words)):
            done = run_script(folder, "train.py", *QUICK, *words, *no_pictures)
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
    extras = re.findall(r"\w+", "".join(re.findall(r"\[(.*)\]", line)))
    scripts = re.findall(r"python ([\w/]+\.py)", line)
    assert extras or scripts
    assert {*extras} <= {*EXTRAS} and all((ROOT / script).is_file() for script in scripts)


# ---------------------------------------------------------------- links, tables, the notebook


@pytest.mark.parametrize("page", LINKING)
def test_a_page_is_whole_on_github(page: str) -> None:
    file, text = ROOT / page, read(ROOT / page)
    for path, anchor in links(text):
        target = file.parent / path if path else file
        if not lacks(path.replace("/", ".")):
            assert target.exists() and (not anchor or anchor in anchors(read(target))), path
    text = re.sub(r"<!--.*?-->", "", prose(text), flags=re.DOTALL)
    # inclusions, documentation of code, attributes of blocks, frames
    assert not re.search(r"--8<--|^:::|^!!!|<iframe", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_of_a_file_is_in_it(page: str) -> None:
    """A block after a line that ends with the link to a file."""
    block = r"\]\(([^)]+\.(?:py|yaml))\)[^\n]*:\n\n```(?:python|yaml)\n(.*?)^```$"
    for path, code in re.findall(block, PAGES[page], re.DOTALL | re.MULTILINE):
        assert code in read((ROOT / page).parent / path), path


def test_only_a_link_to_a_file_of_a_task_may_be_dead_on_the_site(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (page := tmp_path / "README.md").write_text("All: [`a.yaml`](configs/data/a.yaml).\n")
    SITE["make"](tmp_path, tmp_path / "made")
    assert read(tmp_path / "made" / "index.md") == "All: `a.yaml`.\n"
    page.write_text("[A page](docs/a.md)\n")
    with pytest.raises(FileNotFoundError):
        SITE["make"](tmp_path, tmp_path / "made")


def test_the_speeds_are_those_of_the_benchmarks() -> None:
    table = PAGES["docs/speed.md"].partition("| ratio |\n")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[1:]]
    assert rows
    results = "".join(map(read, (ROOT / "benchmarks" / "results").glob("*.md")))
    for *_, setting, ratio in rows:
        assert re.search(rf"^\| {re.escape(setting)} \|.* {ratio} \(?", results, re.M), setting


@pytest.mark.parametrize("page", MISTAKES["PAGES"])
def test_a_page_says_of_mistakes_what_the_code_says(page: str) -> None:
    text = PAGES[f"docs/{page}"]
    assert MISTAKES["refreshed"](text) == text, "it is stale: python docs/mistakes.py"
    tables = [header for header in MISTAKES["TABLES"] if f"{header}\n" in text]
    assert tables or MISTAKES["INDEX"].search(text)


@pytest.mark.slow
def test_the_notebook_prints_what_it_shows() -> None:
    committed, again = (nbformat.read(DOCS / "notebook.ipynb", as_version=4) for _ in range(2))
    NotebookClient(again, timeout=300, coalesce_streams=True).execute()
    for before, after in zip(committed.cells, again.cells, strict=True):
        assert before.get("outputs") == after.get("outputs"), before.source
