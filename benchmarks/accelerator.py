"""Everything that only an accelerator can show, by one command, in at most nine minutes.

    python benchmarks/accelerator.py                # the accelerator that PyTorch finds
    python benchmarks/accelerator.py --device mps
    python benchmarks/accelerator.py --device cpu   # the same program, where there is none

Each part writes a table and what fell short of its aim; a part that fails says so, and the others
still run. What the time does not allow is named as left out. The parts:

- tests marked `cuda`, which are skipped elsewhere: equality with the CPU, steps without waiting;
- a training step of the encoder, packed against padded and against a dense `nn.LSTM` that ignores
  the lengths, by precision, with the peak of memory;
- `trainer.fit` against loops by hand, and a language model's tokens per second, as `fit.py` and
  `language_model.py` measure them;
- whether two trainings of one seed have the same losses, bit for bit;
- whether the audit finds on the accelerator what it finds on the CPU;
- whether more steps than cuDNN takes in one call are computed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import fit
import language_model
import lightning.pytorch as pl
import torch
from report import default_output, heading, machine_lines, parsed, row, synchronize, write
from torch import Tensor, nn

from seqmodels.audit import audit
from seqmodels.dataflow.explain import example_batch
from seqmodels.errors import UserError
from seqmodels.heads import HEADS
from seqmodels.machine import find_device, keep_memory
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.rows import MOST_STEPS
from seqmodels.runs.trainer import quieten_lightning
from seqmodels.tasks import TASKS

ROOT = Path(__file__).parents[1]
PRECISIONS = {
    "fp32": (torch.float32, False),
    "TF32": (torch.float32, True),
    "bf16": (torch.bfloat16, True),
    "fp16": (torch.float16, True),
}
AIM = 0.97  # of a loop by hand over the same model and batches
Part = Callable[[argparse.Namespace], Iterator[str]]
"""Yields lines of a results file; one that begins with `SHORT` fell short."""
SHORT = "- Falls short: "


def tests(options: argparse.Namespace) -> Iterator[str]:
    """Tests that need the device"""
    if options.device.type != "cuda":
        yield "Tests marked `cuda` need CUDA: left out."
        return
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-q", "-n", "0", "--tb=line"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    yield f"`pytest -m cuda`: {(done.stdout.strip().splitlines() or [done.stderr[-200:]])[-1]}"
    if done.returncode:
        yield from (f"{SHORT}{line}" for line in done.stdout.splitlines() if "Error" in line)
        yield f"{SHORT}tests marked `cuda` fail"


@contextlib.contextmanager
def precision(name: str, device: torch.device) -> Iterator[torch.dtype]:
    dtype, tf32 = PRECISIONS[name]
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = tf32
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            yield dtype
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


class Dense(nn.Module):
    """An `nn.LSTM` over the padded batch, as if no row were shorter: the fastest, and wrong."""

    def __init__(self, encoder: RecurrentEncoder) -> None:
        super().__init__()
        self.rnn = encoder.rnn

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        output, (h_n, _) = self.rnn(inputs)
        return output.float().square().mean() + h_n.float().square().mean()


class Ours(nn.Module):
    def __init__(self, encoder: RecurrentEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        states = self.encoder(inputs, lengths)
        return states.output.float().square().mean() + states.h_n.float().square().mean()


def step_time(
    model: nn.Module, inputs: Tensor, lengths: Tensor, repeats: int
) -> tuple[float, float]:
    """Median milliseconds of a training step, and the peak of memory in MiB (CUDA)."""
    device, times = inputs.device, []
    for number in range(repeats + 2):  # two warm up
        synchronize(device)
        if number == 2 and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        started = time.perf_counter()
        model.zero_grad(set_to_none=True)
        model(inputs, lengths).backward()
        synchronize(device)
        times.append(time.perf_counter() - started)
    peak = (
        torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else float("nan")
    )
    return 1000 * median(times[2:]), peak


def encoders(options: argparse.Namespace) -> Iterator[str]:
    """A training step of the encoder"""
    device, kind = options.device, options.device.type
    names = list(PRECISIONS) if kind == "cuda" else ["fp32", "bf16"]
    yield from heading(
        [
            "LSTM, lengths T/4..T",
            "precision",
            "dense ms",
            "padded ms",
            "packed ms",
            "packed / padded",
            "dense / padded",
            "peak MiB: dense, padded, packed",
        ]
    )
    for directions, hidden, steps, name in itertools.product(
        (1, 2), options.hidden, options.time, names
    ):
        if options.out_of_time(0.6):
            yield f"\nLeft out for want of time: from {directions} directions, H{hidden} T{steps}."
            return
        torch.manual_seed(0)
        lengths = torch.randint(max(steps // 4, 1), steps + 1, (options.batch,))
        lengths[0] = steps
        inputs = torch.randn(options.batch, steps, hidden, device=device)
        ways: dict[str, nn.Module] = {}
        for way in ("padded", "packed"):
            two = directions == 2
            ways[way] = Ours(RecurrentEncoder(hidden, hidden, bidirectional=two, packing=way))
        ways["packed"].load_state_dict(ways["padded"].state_dict())
        ways = {"dense": Dense(ways["padded"].encoder), **ways}  # type: ignore[arg-type]
        found: dict[str, tuple[float, float]] = {}
        for way, model in ways.items():
            if way == "packed" and kind == "mps":  # PyTorch issue 102911
                found[way] = (float("nan"), float("nan"))
                continue
            with precision(name, device):
                found[way] = step_time(model.to(device), inputs, lengths, options.repeats)
        dense, padded, packed = (found[way][0] for way in ("dense", "padded", "packed"))
        yield row(
            [
                f"{directions} directions, B{options.batch} T{steps} H{hidden}",
                name,
                *(f"{ms:.2f}" for ms in (dense, padded, packed)),
                f"{packed / padded:.2f}",
                f"{dense / padded:.2f}",
                ", ".join(f"{found[way][1]:.0f}" for way in ("dense", "padded", "packed")),
            ]
        )
        if kind != "cpu" and packed < 0.95 * padded:
            yield f"{SHORT}{name} H{hidden} T{steps}: packed is faster, and `auto` runs padded"


def settings(options: argparse.Namespace) -> list[fit.Setting]:
    chosen = [setting for setting in fit.SETTINGS if options.only in setting.title]
    return [replace(setting, train=options.train) for setting in chosen]


def fits_and_loops(options: argparse.Namespace) -> Iterator[str]:
    """`trainer.fit` against loops by hand"""
    if options.device.type == "mps":
        yield "`fit.py` measures CPU and CUDA: left out."
        return
    yield from heading(
        ["setting", "fit / plain loop", "fit / our model by hand", "ms a step: fit, plain, by hand"]
    )
    for setting in settings(options):
        runner, rounds = fit.take_turns(setting, 2, options.rounds, options.device)
        ours, plain, hand, _ = (
            median(fitted.seconds for fitted in way) for way in zip(*rounds, strict=True)
        )
        steps = setting.steps * runner.epochs
        yield row(
            [
                f"{setting.title}, B{setting.batch_size}",
                f"{plain / ours:.2f}",
                f"{hand / ours:.2f}",
                ", ".join(f"{1000 * seconds / steps:.2f}" for seconds in (ours, plain, hand)),
            ]
        )
        if hand / ours < AIM:
            yield f"{SHORT}{setting.title}: {hand / ours:.2f} of the loop by hand, aim {AIM}"


def words(options: argparse.Namespace) -> Iterator[str]:
    """A language model"""
    if options.device.type == "mps":
        yield "`language_model.py` measures CPU and CUDA: left out."
        return
    yield from heading(["way", "tokens/s", "ratio to plain", "validation loss"])
    plain = None
    for way in (language_model.PLAIN, language_model.FIT, language_model.HALF):
        found = language_model.measure_training(
            way, options.vocabulary, options.windows, options.device
        )
        plain = plain or found
        timed = (options.windows - language_model.WARM_UP) * language_model.WINDOW
        speed = timed * language_model.BATCH / found.seconds
        ratio = plain.seconds / found.seconds
        yield row([way.title, f"{speed:,.0f}", f"{ratio:.2f}", f"{found.validation_loss:.4f}"])


def repeats(options: argparse.Namespace) -> Iterator[str]:
    """The same seed twice"""
    if options.device.type == "mps":
        yield "`fit.py` measures CPU and CUDA: left out."
        return
    setting, losses = settings(options)[0], set()
    for _ in range(2):
        pl.seed_everything(0, verbose=False)
        fitted = fit.Runner(setting, 1, options.device).by_trainer()
        losses.add((fitted.train_loss, fitted.validation_loss))
    same = len(losses) == 1
    yield f"Two trainings of one seed have {'the same' if same else 'different'} losses."
    if not same:
        yield f"{SHORT}trainings of one seed differ; `trainer.deterministic=true` repeats them"


class LastColumn(nn.Module):
    """A mistake to be found: `output[:, -1]` of two directions, on padded rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 8, batch_first=True, bidirectional=True)
        self.project = nn.Linear(16, 2)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.project(self.rnn(inputs)[0][:, -1])


def audits(options: argparse.Namespace) -> Iterator[str]:
    """The audit"""
    models = {"last column": (LastColumn(), torch.randn(3, 5, 3), torch.tensor([5, 3, 2]), {})}
    torch.manual_seed(0)
    for kind, head in itertools.product(TASKS, HEADS):
        try:
            task = kind(dict(kind.contract.kind.example), {"hidden_size": 32}, head)
        except UserError:  # the head does not fit this task
            continue
        if not task.contract.kind.decoder:
            batch = example_batch(task, *(() if task.contract.stateful else (3,)))
            per = "per_step" if task.contract.per == "step" else "sequence"
            how = {"kind": per, "causal": task.contract.causal}
            models[f"{kind.__name__}, {head}"] = (task, batch.inputs, batch.lengths, how)
    for name, (model, inputs, lengths, how) in models.items():
        found = []
        for device in (torch.device("cpu"), options.device):
            model.to(device)
            run = model if isinstance(model, LastColumn) else model.as_function()
            found.append(audit(run, inputs.to(device), lengths, **how).names)
        yield f"- {name}: {', '.join(found[1]) or 'clean'}"
        if found[0] != found[1] or bool(found[1]) != isinstance(model, LastColumn):
            yield f"{SHORT}the audit of {name} finds {found[1]} here, and {found[0]} on the CPU"


def long_rows(options: argparse.Namespace) -> Iterator[str]:
    """More steps than cuDNN takes in one call"""
    steps = MOST_STEPS + 10 if options.device.type != "cpu" else 1_000
    encoder = RecurrentEncoder(2, 4).to(options.device)
    inputs = torch.randn(2, steps, 2, device=options.device)
    with torch.no_grad():
        whole = encoder(inputs).output[:, -1].cpu()
        first = encoder(inputs[:, : steps // 2])
        second = encoder(inputs[:, steps // 2 :], state=first.state).output[:, -1].cpu()
    difference = float((whole - second).abs().max())
    yield f"{steps:,} steps at once and in two halves differ by {difference:.1e}."
    if difference > 1e-3:
        yield f"{SHORT}long rows are not what their halves give"


PARTS: tuple[Part, ...] = (
    tests,
    long_rows,
    audits,
    repeats,
    fits_and_loops,
    words,
    encoders,  # it takes what time is left
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default=None, help="cuda, mps or cpu; default: what is there")
    parser.add_argument("--minutes", default=9.0, type=float, help="at most")
    parser.add_argument("--hidden", default=[128, 512, 1024], type=int, nargs="*")
    parser.add_argument("--time", default=[16, 128, 1024], type=int, nargs="*")
    parser.add_argument("--batch", default=64, type=int)
    parser.add_argument("--repeats", default=7, type=int, help="timed steps of an encoder")
    parser.add_argument("--rounds", default=3, type=int, help="of `trainer.fit`")
    parser.add_argument("--only", default="", help="only rows of `fit.py` with this in their name")
    parser.add_argument("--train", default=2000, type=int, help="sequences of an epoch")
    parser.add_argument("--vocabulary", default=20_000, type=int)
    parser.add_argument("--windows", default=60, type=int, help="of the language model")
    options = parsed(
        parser,
        argv,
        device="cpu",
        hidden=[8],
        time=[5],
        batch=4,
        repeats=1,
        rounds=1,
        only="tiny",
        train=64,
        vocabulary=50,
        windows=language_model.WARM_UP + 1,
    )
    options.device = find_device("auto") if options.device is None else torch.device(options.device)
    started = time.perf_counter()
    options.out_of_time = lambda share: time.perf_counter() - started > 60 * options.minutes * share
    keep_memory()
    quieten_lightning()
    warnings.filterwarnings("ignore", category=UserWarning)  # Lightning's hints
    warnings.filterwarnings("ignore", ".*LeafSpec")

    lines: list[str] = []
    failed = False
    for part in PARTS:
        title = (part.__doc__ or part.__name__).partition("\n")[0]
        found = [f"## {title}", ""]
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # tables of tensors
                for line in part(options):  # one by one: those before a failure stay
                    found.append(line)  # noqa: PERF402
        except Exception as error:  # noqa: BLE001 (the other parts still run)
            failed = True
            traceback.print_exc()
            found.append(f"{SHORT}{title} failed: {type(error).__name__}: {error}"[:300])
        print(*found, "", sep="\n", flush=True)
        lines += [*found, ""]
    short = [line for line in lines if line.startswith(SHORT)]
    summary = short or ["Nothing fell short."]
    print(*summary, sep="\n")
    write(
        options.output or default_output("accelerator", options.device),
        [
            "# What an accelerator shows",
            "",
            *machine_lines(options.device, None, [f"lightning {pl.__version__}"]),
            f"- seconds: {time.perf_counter() - started:.0f}",
            "",
            *summary,
            "",
            *(line for line in lines[:-1] if line not in short),
        ],
    )
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
