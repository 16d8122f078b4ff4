"""The installed command `seqmodels`, its configuration files, and the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from seqmodels import __version__
from seqmodels.__main__ import main
from seqmodels.installation import as_started, how_to_install
from tests.conftest import ROOT, Script
from tests.in_process import run_in_process

COMMANDS = sorted(path.stem for path in (ROOT / "src/seqmodels/launch/commands").glob("[a-z]*.py"))
MINE = """# @package _global_
defaults:
  - override /data: japanese_vowels
model:
  head: max_pool
"""


@pytest.fixture
def seqmodels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """`seqmodels("train", "model.head=max_pool")`: the installed command, in tmp_path."""
    for name in [name for name in sys.modules if name.startswith("seqmodels.launch.commands.")]:
        monkeypatch.delitem(sys.modules, name)  # as in a new process
    # runpy would keep what jaxtyping compiled as if Python had, for every process after this one
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    main = ROOT / "src" / "seqmodels" / "__main__.py"
    return lambda *words: run_in_process(main, words, tmp_path)


@pytest.fixture
def complete(seqmodels: Script, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """What is offered for a line that is being typed."""

    def offered(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        return seqmodels("-sc", "query=bash").stdout.split()

    return offered


def test_help_lists_every_command(seqmodels: Script) -> None:
    done = seqmodels("--help")
    titles = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert titles == COMMANDS and "train     Train a model, or a sweep of many." in done.stdout
    assert seqmodels().stdout == done.stdout and done.returncode == 0


def test_every_command_is_a_script_too() -> None:
    for name in set(COMMANDS) - {"new"}:
        script = (ROOT / "scripts" / f"{name}.py").read_text()
        assert f"from seqmodels.launch.commands.{name} import main\n" in script


def test_the_version_is_that_of_the_distribution(seqmodels: Script) -> None:
    assert seqmodels("--version").stdout == f"seqmodels {__version__}\n"


def test_an_unknown_command_is_one_line(seqmodels: Script) -> None:
    done = seqmodels("tarin", "model.head=max_pool")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: unknown command tarin: choose one of audit, ")
    assert done.stderr.endswith("did you mean train?\n")


def test_a_command_speaks_of_itself_and_a_script_of_the_script(
    seqmodels: Script, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "\nseqmodels predict run=runs/<folder>" in seqmodels("predict", "--help").stdout
    assert "\npython scripts/predict.py run=" in script("predict.py", "--help").stdout
    assert "\nseqmodels train model.head=mean_pool" in seqmodels("train", "--help").stdout
    assert "\npython scripts/train.py model.head=" in script("train.py", "--help").stdout
    assert seqmodels("compare").stderr.endswith("compare: seqmodels compare runs/<sweep>\n")
    for started, said in (
        (ROOT / "scripts" / "train.py", "python scripts/audit.py"),
        (tmp_path / "scripts" / "train.py", "seqmodels audit"),  # of a project, its only one
        ("pytest", "seqmodels audit"),
    ):
        monkeypatch.setattr(sys, "argv", [str(started)])
        assert as_started("use python scripts/audit.py a=1") == f"use {said} a=1"


def test_what_to_install_is_what_the_extra_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["torch>=2.10", "wandb>=0.19; extra == 'wandb'", 'a<2; extra == "b"', "c;extra=='b'"]
    monkeypatch.setattr(metadata, "requires", lambda name: listed)
    assert how_to_install("wandb") == "pip install 'wandb>=0.19'"
    assert how_to_install("b") == "pip install 'a<2' 'c'"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("seqmodels ", COMMANDS),
        ("seqmodels ex", ["explain", "export"]),
        ("seqmodels predict che", ["checkpoint="]),
        ("/usr/bin/seqmodels audit input.f", ["input.features="]),
        ("seqmodels train model.he", ["model.head=", "model.head_options."]),
        ("seqmodels train -m seed=0,1 experiment=mi", ["experiment=mine"]),
        ("seqmodels explain model=cl", ["model=classifier"]),
        ("seqmodels new ", []),
    ],
)
def test_tab_completes(
    line: str, offered: list[str], complete: Callable[[str], list[str]], own: Path
) -> None:
    assert complete(line) == offered


def test_the_shell_learns_to_complete_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/seqmodels", "-sc", "install=bash"])
    main()
    assert capsys.readouterr().out.endswith("-F hydra_bash_completion seqmodels\n")


# ---------------------------------------------------------------- your own configs/


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """`configs/` in the current directory."""
    (tmp_path / "configs" / "experiment").mkdir(parents=True)
    (tmp_path / "configs" / "experiment" / "mine.yaml").write_text(MINE)
    return tmp_path / "configs"


def test_your_own_files_come_first(seqmodels: Script, own: Path) -> None:
    done = seqmodels("train", "experiment=mine", "--cfg", "job")
    assert "head: max_pool" in done.stdout and "name: JapaneseVowels" in done.stdout
    (own / "trainer").mkdir()
    (own / "trainer" / "cpu.yaml").write_text("defaults: [auto]\nmax_epochs: 77\n")
    assert "max_epochs: 77" in seqmodels("train", "trainer=cpu", "--cfg", "job").stdout


def test_your_own_file_of_a_command_may_give_a_part(seqmodels: Script, own: Path) -> None:
    (own / "audit.yaml").write_text("target: mine:build\n")
    assert "No module named 'mine'" in seqmodels("audit").stderr
    (own / "audit.yaml").write_text("target: mine:build\ninput:\n  time: none\n")
    assert seqmodels("audit").stderr.startswith(f"error: {own / 'audit.yaml'}: input.time=none: ")
    (own / "audit.yaml").write_text("tarjet: mine:build\n")
    done = seqmodels("audit")
    assert done.stderr.startswith(f"error: {own / 'audit.yaml'}: tarjet is not a key")
    assert done.returncode == 2


# ---------------------------------------------------------------- the wheel


def test_the_wheel_brings_configurations_and_types(wheel: Path) -> None:
    def listed(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.yaml")}

    ours = {f: c for f, c in listed(ROOT / "configs").items() if not f.startswith("local")}
    assert listed(wheel / "seqmodels" / "configs") == ours
    assert (wheel / "seqmodels" / "py.typed").is_file()
    [metadata] = wheel.glob("*.dist-info")
    assert "seqmodels = seqmodels.__main__:main" in (metadata / "entry_points.txt").read_text()


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_folder(wheel: Path, own: Path, tmp_path: Path) -> None:
    words = ["experiment=mine", "data=needle", "debug=fast", "trainer=ddp_sim", "baseline=false"]
    done = subprocess.run(
        [sys.executable, "-m", "seqmodels", "train", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "max_pool reads output" in done.stdout
    [environment] = (tmp_path / "runs").glob("*/environment.json")
    assert '"2 x cpu"' in environment.read_text()


def test_an_option_may_stand_anywhere(script: Script) -> None:
    for words in (("seed=1", "--info"), ("--cfg", "job", "seed=1"), ("seed=1", "--cfg", "job")):
        done = script("train.py", *words)
        assert "seed" in done.stdout, done.stderr


def test_a_process_ends_with_no_object_kept_from_the_collector() -> None:
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count()));"
        "from seqmodels.launch.command_line import importing\nwith importing(): import json\n"
        "print(gc.get_freeze_count() > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]  # else libraries that look for leaks complain
