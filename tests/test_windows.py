"""What Windows lacks, or does otherwise, as far as another system can show it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from seqmodels.errors import UserError
from seqmodels.runs import lock
from seqmodels.words import as_override
from tests.conftest import ROOT

# PyTorch, Lightning and the library of locks look for their system when they are imported.
WITHOUT = """
import os, signal, sys
import filelock, lightning.pytorch, torch
for module in ("fcntl", "grp", "pty", "pwd", "resource", "termios"):
    sys.modules[module] = None
for name in ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
    delattr(signal, name)
for name in ("fork", "getuid", "killpg", "mkfifo", "sched_getaffinity", "setsid"):
    delattr(os, name)
"""
TRAIN = """
import importlib, pkgutil, seqmodels
for module in pkgutil.walk_packages(seqmodels.__path__, "seqmodels."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(seqmodels.train(seqmodels.compose("debug=fast", "baseline=false"))["status"])
"""
HOLD = """
from pathlib import Path
from seqmodels.runs.lock import locked
with locked(Path("lock")):
    print(flush=True)
    input()
"""


@pytest.mark.slow
def test_every_module_is_imported_and_a_training_runs_without_what_windows_lacks(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", WITHOUT + TRAIN]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("completed\n")
    [folder] = (tmp_path / "runs").iterdir()
    assert not set('<>:"|?*\\') & set(folder.name)


@pytest.mark.parametrize("has_fcntl", [True, False])
def test_a_lock_names_its_process_behind_the_byte_that_windows_locks_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_fcntl: bool
) -> None:
    if not has_fcntl:
        monkeypatch.setattr(lock, "fcntl", None)
    path, pipe = tmp_path / "lock", subprocess.PIPE
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stdout=pipe) as other:
        assert other.stdout and other.stdout.readline()
        assert lock.is_locked(path)
        assert path.read_bytes()[1:].startswith(f"process {other.pid} on ".encode())
        with pytest.raises(UserError, match=f": process {other.pid} on .* is training in this"):
            lock.locked(path).__enter__()
        other.kill()
    assert not lock.is_locked(path)
    with lock.locked(path):
        assert lock.is_locked(path)


def test_a_lock_that_is_not_there_is_not_held(tmp_path: Path) -> None:
    assert not lock.is_locked(tmp_path / "lock") and not [*tmp_path.iterdir()]


def test_a_path_of_windows_is_a_word_that_no_shell_changes() -> None:
    word = as_override("resume", PureWindowsPath(r"C:\runs\mine"))
    [parsed] = OverridesParser.create().parse_overrides([word])
    assert word == "resume=C:/runs/mine" and parsed.value() == "C:/runs/mine"


@pytest.mark.parametrize("folder", ["src", "scripts", "examples"])
def test_every_text_file_is_opened_in_utf_8(folder: str) -> None:
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not opens_as_the_system_does(node), f"{file}:{getattr(node, 'lineno', 0)}"


def opens_as_the_system_does(node: ast.AST) -> bool:
    """Whether it opens a text file without an encoding: then Windows takes one of its own."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) == "os.open":
        return False
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
    if any(keyword.arg == "encoding" for keyword in node.keywords):
        return False
    if name in ("run", "Popen"):
        return any(keyword.arg == "text" for keyword in node.keywords)
    if name == "read_text":
        return not node.args
    if name == "write_text" and isinstance(function, ast.Attribute):
        return len(node.args) < 2
    modes = [argument for argument in node.args if isinstance(argument, ast.Constant)]
    return name == "open" and not any("b" in str(mode.value) for mode in modes)
