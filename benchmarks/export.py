"""Exported graphs in onnxruntime against the tasks in PyTorch: equal numbers, size and speed.

    python benchmarks/export.py
    python benchmarks/export.py --only gru --output /tmp/export.md

Every head that a task takes, with each cell, one layer and two, one direction and both where the
head allows it. The largest difference of logits and states is over fresh batches of different
lengths: B 1 and 7, T 1, as traced (5) and 19. The speed is of one batch of T 50, B 1 and 64, and of
one step of a stream, with PyTorch and onnxruntime taking turns; the ratio is PyTorch's time by
onnxruntime's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime
import torch
from report import Noise, default_output, heading, machine_lines, parsed, row, write

from seqmodels import tasks
from seqmodels.batch import SequenceBatch
from seqmodels.engine import Task
from seqmodels.export import export
from seqmodels.export.graph import carried_parts, example_inputs
from seqmodels.heads import HEADS
from seqmodels.nn.cell import parts_of

TOKENS = {"inputs": "tokens", "num_inputs": 200}
FEATURES = {"inputs": "features", "num_inputs": 3}
CLASSES = {"classes": ["a", "b", "c"]}
VALUES = {"values": ["a", "b"], "mean": [1.0, 2.0], "deviation": [2.0, 3.0]}
WINDOWS = {
    **{"inputs": "features", "num_inputs": 2, "values": ["a", "b"], "horizon": 3, "window": 5},
    **{"period": 2, "series": [""], "mean": [[0.0, 1.0]], "deviation": [[1.0, 2.0]]},
    "naive_error": [[1.0, 1.0]],
}
SEQUENCE = [
    name for name, head in HEADS.items() if head.per == "sequence" and not head.output_class
]
KINDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "SequenceClassifier": ({**TOKENS, **CLASSES}, SEQUENCE),
    "Tagger": ({**TOKENS, **CLASSES}, ["every_step"]),
    "Regressor": ({**FEATURES, **VALUES}, ["mean_pool", "every_step"]),
    "Forecaster": (WINDOWS, ["last_hidden", "every_step"]),
    "LanguageModel": (TOKENS, ["softmax", "tied_softmax"]),
}
SIZES = ((1, 1), (7, 1), (1, 5), (7, 5), (1, 19), (7, 19))


def networks(hidden: int) -> Iterator[tuple[str, Callable[[], Task]]]:
    """The name of each, and what builds it."""
    there = {task.__name__: task for task in tasks.TASKS}
    for kind, make in [(kind, there[kind]) for kind in KINDS if kind in there]:
        data, heads = KINDS[kind]
        for head, cell, layers, two in product(heads, ("lstm", "gru"), (1, 2), (False, True)):
            causal = make.contract_for(head).causal
            if (two and causal) or HEADS[head].requires_bidirectional not in (None, two):
                continue

            encoder = {
                "hidden_size": hidden,
                "cell": cell,
                "num_layers": layers,
                "bidirectional": two,
            }
            yield (
                f"{kind}, {head}, {cell}, {layers} x {1 + two}",
                partial(make, data, encoder, head),
            )


def batch_of(task: Task, batch: int, steps: int) -> list[torch.Tensor]:
    inputs = example_inputs(task.hparams["data"])
    state = carried_parts(task.network) if task.contract.stateful else {}
    made = torch.randint(0, 99, (batch, steps))
    if inputs.is_floating_point():
        made = torch.randn(batch, steps, inputs.shape[2])
    lengths = torch.randint(1, steps + 1, (batch,))
    lengths[-1] = steps
    return [
        made,
        lengths,
        *(torch.randn(part.shape[0], batch, part.shape[2]) for part in state.values()),
    ]


def step_of(task: Task) -> list[torch.Tensor]:
    """One step of one row, and what to carry of those before: none."""
    parts = carried_parts(task.network).values()
    state = [part[:, :1] if part.dim() == 3 else part[:1] for part in parts]
    return [*batch_of(task, 1, 1)[:2], *state]


def carried_in_pytorch(task: Task, given: list[torch.Tensor]) -> torch.Tensor:
    inputs, lengths, *state = given
    with torch.inference_mode():
        batch = SequenceBatch(inputs, lengths)
        states, _ = task.network.carry(batch, (*state,))
        return task.network.read_out(states, batch)


def in_pytorch(task: Task, given: list[torch.Tensor]) -> list[torch.Tensor]:
    inputs, lengths, *state = given
    with torch.inference_mode():
        if not state:
            return [task.network(inputs, lengths)]
        carried = (state[0], state[1]) if len(state) == 2 else state[0]
        logits, after = task.network(inputs, lengths, carried)
        return [logits, *parts_of(after)]


def in_onnx(session: onnxruntime.InferenceSession, given: list[torch.Tensor]) -> list[Any]:
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, [each.numpy() for each in given], strict=True)))


def taking_turns(
    run: Callable[..., Any],
    task: Task,
    session: onnxruntime.InferenceSession,
    given: list[torch.Tensor],
    repeats: int,
) -> list[str]:
    """The median milliseconds of onnxruntime, and those of `run` by them."""
    rounds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        run(task, given)
        between = time.perf_counter()
        in_onnx(session, given)
        rounds.append((between - started, time.perf_counter() - between))
    ours, theirs = (median(taken) for taken in zip(*rounds[1:], strict=True))
    return [f"{1000 * theirs:.3f}", f"{ours / theirs:.2f}"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", default=21, type=int, help="pairs of samples in each row")
    parser.add_argument("--hidden", default=64, type=int, help="hidden_size")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    arguments = parsed(parser, argv, repeats=1, hidden=7, only="last_hidden, lstm, 1 x 1")
    torch.set_num_threads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    columns = ["network", "largest difference", "kB", "B 1 (ms)", "ratio", "B 64 (ms)", "ratio"]
    columns += ["a step (ms)", "ratio"]
    rows = []
    with Noise() as noise, tempfile.TemporaryDirectory() as place:
        for name, build in networks(arguments.hidden):
            if arguments.only not in name:
                continue
            torch.manual_seed(0)
            task, path = build().eval(), Path(place) / "model.onnx"
            export(task, path.parent)
            session = onnxruntime.InferenceSession(path, options)
            worst = 0.0
            for batch, steps in SIZES:
                given = batch_of(task, batch, steps)
                for ours, theirs in zip(
                    in_pytorch(task, given), in_onnx(session, given), strict=True
                ):
                    worst = max(worst, float((ours - torch.from_numpy(theirs)).abs().max()))
            assert worst < 1e-5, f"{name}: {worst}"
            cells = [name, f"{worst:.1e}", f"{path.stat().st_size / 1000:.0f}"]
            for batch in (1, 64):
                cells += taking_turns(
                    in_pytorch, task, session, batch_of(task, batch, 50), arguments.repeats
                )
            if not task.network.reads_whole_rows():
                export(task, path.parent, stream=True)
                session = onnxruntime.InferenceSession(path, options)
                repeats = 20 * arguments.repeats
                cells += taking_turns(carried_in_pytorch, task, session, step_of(task), repeats)
            cells += ["-"] * (len(columns) - len(cells))
            rows.append(cells)
            print(row(cells), flush=True)
    lines = [*heading(columns), *map(row, rows)]
    title = "# Exported graphs against PyTorch"
    output = arguments.output or default_output("export", torch.device("cpu"))
    machine = [
        line.partition("; for each row")[0]
        for line in machine_lines(
            torch.device("cpu"), noise, [f"onnxruntime {onnxruntime.__version__}"]
        )
    ]
    write(output, [title, "", *machine, "", *lines])


if __name__ == "__main__":
    main()
