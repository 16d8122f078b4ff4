"""Run folders as a stranger might hand them over, and a watch on what reading them does."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

CANARY = "a_strangers_module"  # importing it, or running it, is noticed

TEXTS = (
    "",
    "x",
    "a" * 100_000,
    "${oc.env:HOME}",
    "\\${oc.env:HOME}",
    "${oc.create:{_target_:os.system,_args_:[id]}}",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "FIFO",
    "\x1b[31mred\x1b]0;title\x07",
    "[red]x[/red] [link=http://example.org]y[/link] [/]",
    "<script>document.title='poisoned'</script><img src=x onerror=alert(1)>",
    "$\\frac{1}{0}$ $x$ $",
    "a\nb\r\nerror: c",
    "\u202eevil\u2066",
    "\0",
    "\ud800",
    "!!python/object/apply:os.system [id]",
)
CLASSES = (
    f"{CANARY}.Task",
    "os.system",
    "subprocess.Popen",
    "builtins.exec",
    "torch.load",
    "torch.hub.load",
    "pathlib.Path",
    "seqmodels.runs.Trainer",
    "seqmodels.tasks.language_model.PlainText",
    "seqmodels.cache.shutil.rmtree",
    "seqmodels.tasks.language_model.sample.SampleText",
    "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "lightning.pytorch.profilers.AdvancedProfiler",
    "torch.optim.lr_scheduler.LambdaLR",
    "torch.optim.swa_utils.AveragedModel",
    "torch.optim.Optimizer",
    "torch.nn.Module",
)
NUMBERS = (-1, 0, 1, 2, 7, 10**6, 2**31, 2**63, -(2**63), 10**400, 0.5, -1.5, 1e-308, 1e308)
OTHERS = (None, True, False, float("nan"), float("inf"), [], {}, [1, "x", None], {"x": {"y": []}})
KEYWORDS = ("_target_", "_args_", "_partial_", "_convert_", "_recursive_", "a.b", "__class__")


def value(chance: random.Random) -> Any:
    """A hostile value of any kind."""
    kind = chance.randrange(6)
    if kind < 4:
        return chance.choice((TEXTS, NUMBERS, OTHERS, CLASSES)[kind])
    if kind == 4:
        return {"_target_": chance.choice(CLASSES), "_args_": ["id"], "x": chance.choice(TEXTS)}
    deep: Any = chance.choice(TEXTS)
    for _ in range(chance.choice((3, 40, 2000))):
        deep = [deep]
    return deep


def mutate(content: Any, chance: random.Random) -> str:
    """Changes one entry somewhere in nested dicts and lists; returns which."""
    places = list(_containers(content))
    holder = chance.choice(places)
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    action = chance.randrange(5)
    if not keys or action == 0:
        if isinstance(holder, dict):
            holder[chance.choice((*KEYWORDS, *TEXTS[:12]))] = value(chance)
        else:
            holder.append(value(chance))
        return f"one more than {keys!r:.60}"
    key = chance.choice(keys)
    if action == 1:
        del holder[key]
    elif action == 2 and isinstance(holder, dict):
        holder[chance.choice((*KEYWORDS, *TEXTS[3:]))] = holder.pop(key)
    else:
        holder[key] = value(chance)
    return f"{key!r:.60}"


def _containers(content: Any) -> Iterator[Any]:
    if isinstance(content, dict | list):
        yield content
        for inner in content.values() if isinstance(content, dict) else content:
            yield from _containers(inner)


# files


def spoil(folder: Path, chance: random.Random) -> str:
    """Makes one to three files of a run folder hostile; returns what it did."""
    done = []
    for _ in range(chance.choice((1, 1, 2, 3))):
        files = sorted(f for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
        weights = [4 if f.name in ("config.yaml", "best.ckpt", "last.ckpt") else 1 for f in files]
        [file] = chance.choices(files, weights)
        kinds = [_bytes, _swap]
        if file.suffix in (".yaml", ".json"):
            kinds += [_fields] * 6 + [_document]
        elif file.suffix == ".ckpt":
            kinds += [_checkpoint] * 6 + [_archive] * 2
        elif file.suffix == ".csv":
            kinds += [_rows] * 2
        kind = chance.choice(kinds)
        try:
            how = kind(file, chance)
        except Exception as error:  # noqa: BLE001 (the one before has left nothing to change)
            how = f"not done: {error!r:.40}"
        done.append(f"{kind.__name__.strip('_')} {file.relative_to(folder)}: {how}")
    return "; ".join(done)


def _bytes(file: Path, chance: random.Random) -> str:
    content = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 8, 200))):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(256)
    if chance.random() < 0.4:
        del content[chance.randrange(len(content) + 1) :]
    file.write_bytes(bytes(content))
    return f"{len(content)} bytes"


def _swap(file: Path, chance: random.Random) -> str:
    outside = Path(*file.parts[: file.parts.index("case") + 1], "outside")
    kind = chance.choice(("nothing", "empty", "folder", "link", "loop", "fifo", "device", "huge"))
    file.unlink()
    if kind == "empty":
        file.touch()
    elif kind == "folder":
        file.mkdir()
    elif kind == "link":
        file.symlink_to(outside)
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to(chance.choice(("/dev/zero", "/dev/full", "/dev/null", "/proc/self/mem")))
    elif kind == "huge":
        file.touch()
        os.truncate(file, 10**12)
    return kind


def _fields(file: Path, chance: random.Random) -> str:
    if file.stat().st_size > 50_000 or "&a" in file.read_text():
        return "hostile already"
    content = yaml.safe_load(file.read_text()) if file.suffix == ".yaml" else None
    if content is None:
        content = json.loads(file.read_text())
    count = chance.choice((1, 1, 2, 5))
    how = [mutate(content, chance) for _ in range(count) if isinstance(content, dict | list)]
    try:
        dump = yaml.safe_dump if file.suffix == ".yaml" else json.dumps
        file.write_text(dump(content), encoding="utf-8", errors="surrogatepass")
    except (RecursionError, ValueError):
        file.write_text("[" * 100_000)
    return ", ".join(how)


def _document(file: Path, chance: random.Random) -> str:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
    )
    texts = {
        "aliases": bomb,
        "itself": "a: &a {b: *a}",
        "nested": "[" * 200_000,
        "nested blocks": "".join(" " * i + "- \n" for i in range(3000)),
        "nested object": '{"a":' * 100_000,
        "tag": f"!!python/object/apply:os.system ['touch {CANARY}']",
        "module": f"!!python/module:{CANARY} ''",
        "long": "a: [" + "1," * 2_000_000 + "]",
        "number": f"seed: 0x{'f' * 100_000}",
        "digits": '{"seed": ' + "9" * 100_000 + "}",
        "scalar": "7",
        "keys": "? [a, b]\n: 1\n",
        "utf-16": "\ufeffa: 1",
    }
    name = chance.choice(list(texts))
    file.write_text(texts[name], encoding="utf-16" if name == "utf-16" else "utf-8")
    return name


def _rows(file: Path, chance: random.Random) -> str:
    cells = [line.split(",") for line in file.read_text().splitlines()]
    row = chance.choice(cells)
    row[chance.randrange(len(row))] = str(chance.choice((*TEXTS, *NUMBERS, *OTHERS)))
    if chance.random() < 0.3:
        row.append("x")
    text = "\n".join(",".join(row) for row in cells)
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return "a cell"


class Payload:
    """Runs the canary where it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, (f"import {CANARY}",)


def tensor(chance: random.Random) -> torch.Tensor:
    """A tensor that is not what it seems."""
    return chance.choice(
        (
            lambda: torch.zeros(1).expand(10**12),
            lambda: torch.zeros(1).expand(10**6, 10**6),
            lambda: torch.zeros(3, 5),
            lambda: torch.full((2, 2), float("nan")),
            lambda: torch.zeros(4, dtype=torch.complex64),
            lambda: torch.zeros(2, 2).to_sparse(),
            lambda: torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8),
            lambda: torch.zeros(10**15, device="meta"),
            lambda: torch.zeros(0),
            lambda: torch.tensor(2**62),
        )
    )()


def _checkpoint(file: Path, chance: random.Random) -> str:
    content = torch.load(file, weights_only=True)
    how = []
    for _ in range(chance.choice((1, 1, 2, 5))):
        part = chance.choice(
            [content, *(c for c in content.values() if isinstance(c, dict | list))]
        )
        how.append(mutate(part, chance))
        if chance.random() < 0.3:
            places = [p for p in _containers(content) if isinstance(p, dict) and p]
            holder = chance.choice(places)
            key = chance.choice(list(holder))
            holder[key] = tensor(chance)
            how.append(f"a tensor at {key!r:.60}")
        if chance.random() < 0.1:
            circle: list[Any] = []
            circle.append(circle)
            content[chance.choice(list(content))] = circle
    try:
        torch.save(content, file)
    except Exception as error:  # noqa: BLE001 (what cannot be saved is no case)
        return f"not saved: {error!r:.60}"
    return ", ".join(how)


def _archive(file: Path, chance: random.Random) -> str:
    kind = chance.choice(("payload", "pickle", "compressed", "other parts", "legacy"))
    if kind == "payload":
        torch.save({**torch.load(file, weights_only=True), "x": Payload()}, file)
    elif kind == "pickle":
        file.write_bytes(pickle.dumps(Payload()))
    elif kind == "legacy":
        content = torch.load(file, weights_only=True)
        torch.save({**content, "x": Payload()}, file, _use_new_zipfile_serialization=False)
    else:
        with zipfile.ZipFile(file) as parts:
            entries = {entry.filename: parts.read(entry) for entry in parts.infolist()}
        name = chance.choice([n for n in entries if "/data/" in n])
        if kind == "compressed":
            entries[name] = bytes(3 * 10**8)
        else:
            entries[name] = entries[name][: len(entries[name]) // 2]
        method = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
        with zipfile.ZipFile(file, "w", method, compresslevel=1) as parts:
            for entry, part in entries.items():
                parts.writestr(entry, part)
    return kind


# what reading them does


class Hang(BaseException):
    """A case took too long."""


class Watch:
    """Notices code that runs, files that change outside of `allowed`, network, hangs and memory.

    Audit hooks cannot be removed, so there is one for a process.
    """

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] = ()
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    @contextmanager
    def over(self, folder: Path, seconds: float) -> Iterator[list[str]]:
        """Yields the list of what was noticed; files in `folder` may change."""

        def end(*_: Any) -> None:
            raise Hang(f"more than {seconds} seconds")

        self.allowed, self.seen, self.on = (str(folder.resolve()), "/dev/null"), [], True
        handler = signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            yield self.seen
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            self.on = False
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        if more > 600_000:  # kilobytes
            self.seen.append(f"{more // 1000} MB of memory")

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        found = None
        if event in ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"):
            found = event
        elif event == "subprocess.Popen":
            tool = Path(str(arguments[0])).name
            found = f"runs {tool}" if tool not in ("git", "uname") else None  # of environment.json
        elif event == "import":
            found = f"imports {CANARY}" if str(arguments[0]).startswith(CANARY) else None
        elif event.startswith("socket.") and event in ("socket.connect", "socket.getaddrinfo"):
            found = f"{event} {arguments[:2]}"
        elif event == "open" and isinstance(arguments[2], int):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and self._outside(
                arguments[0]
            ):
                found = f"writes {arguments[0]}"
        elif event in ("os.remove", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree"):
            found = f"{event} {arguments[0]}" if self._outside(arguments[0]) else None
        elif event in ("os.rename", "os.link", "os.symlink"):
            found = f"{event} {arguments[1]}" if self._outside(arguments[1]) else None
        if found:
            self.seen.append(found)

    def _outside(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        real = os.path.realpath(os.fsdecode(path))
        return not real.startswith(self.allowed) and "__pycache__" not in real


def copy_case(run: Path, to: Path) -> Path:
    """A copy of a run folder in a fresh folder `case`, beside a file that must stay as it is."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    (to / "outside").write_text("mine")
    os.mkfifo(to / "FIFO")
    shutil.copytree(run, to / "run")
    return to / "run"
