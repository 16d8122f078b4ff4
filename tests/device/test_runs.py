"""On an accelerator, a run of each task: its training, its test, its resume, and all its uses; and
what else must be as on the CPU: packed rows, very long ones, the audit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqmodels import compose, load_run
from seqmodels.audit import audit
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.nn import ragged
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.ragged import MOST_STEPS, side_by_side
from seqmodels.runs import Run, train
from seqmodels.runs.checkpoint import read_checkpoint
from tests.device.cases import BY_NAME, PAIRS, StepWaits, small_batch, two_layer_task
from tests.runs.resumed import Copy

pytestmark = pytest.mark.device

# where the host may wait for the device between the first step of an epoch and its last, and why
MAY_WAIT = {
    "callbacks/progress.py: values = ": "once in trainer.log_every_n_steps: one transfer",
}
SMALL = (
    *("trainer=gpu", "model.encoder.hidden_size=16", "trainer.max_epochs=2"),
    *("trainer.enable_progress_bar=false", "baseline=false"),
)
STREAM = ("data.window=12", "data.batch_size=4", "trainer.max_steps=40")
LOGGED = "trainer.log_every_n_steps=10"
WINDOWS = ("data.file=power.csv", "data.target=load", "data.horizon=4", "data.window=24")
RUNS = {
    "classification": ["model.head=bidirectional_concat", "data.batch_size=64"],
    "texts": ["experiment=text_classification", "data.train=texts.csv"],
    "tagging": ["experiment=tagging", "data.train=tags.txt"],
    "numbers": [
        "model=regressor",
        "data=text",
        "data.train=scores.csv",
        "data.value_columns=[score]",
    ],
    "forecasting": ["experiment=forecasting", *WINDOWS],
    "recursive": ["model=forecaster", "model.head=every_step", "data=windows", *WINDOWS],
    "language model": ["experiment=word_lm", "data.train=book.txt", *STREAM, LOGGED],
    "seq2seq": ["experiment=seq2seq", "data.train=pairs.tsv"],
}


def trained(folder: str, *words: str) -> tuple[dict[str, Any], StepWaits]:
    # The look waits, once in a run, and has tests of its own (test_device_look.py).
    words, waits = (*words, "callbacks.device_look=null", f"folder={folder}"), StepWaits()
    return train(compose(*words), words, callbacks=[waits]), waits


TASKS = {
    "tagging": "Tagger",
    "numbers": "Regressor",
    **dict.fromkeys(("forecasting", "recursive"), "Forecaster"),
    "language model": "LanguageModel",
    "seq2seq": "Seq2Seq",
}


def existing(*names: str) -> list[str]:
    """Those of `RUNS` whose task is there: a project may have deleted its folder."""
    return [name for name in names if TASKS.get(name, "SequenceClassifier") in BY_NAME]


INPUTS: dict[str, list[Any]] = {
    "classification": [np.ones((9, 12)), np.eye(12)],
    "tagging": [["w1", "w2", "w3"], ["w4"]],
    "forecasting": [np.eye(24, 1), np.ones((24, 1))],
    "recursive": [np.eye(24, 1), np.ones((24, 1))],
}


@pytest.mark.parametrize("task", existing(*RUNS))
def test_a_run_from_its_first_step_to_its_uses(
    task: str, files: Path, device: torch.device
) -> None:
    result, waits = trained("run", *RUNS[task], *SMALL)
    unlisted = {w: n for w, n in waits.found.items() if not any(line in w for line in MAY_WAIT)}
    assert not unlisted
    # 40 steps, of which the last ends with a validation
    assert sum(waits.found.values()) == (4 if task == "language model" else 0)
    folder = files / "run"
    rows = (folder / "predictions.csv").read_text().splitlines()
    assert len(rows) > 2 and (folder / "dataflow.svg").stat().st_size > 1000
    pictures = {file.name for file in (folder / "figures").iterdir()}
    assert len(pictures) > (task in ("classification", "texts", "forecasting"))
    run = load_run(folder)
    for accelerator in ("gpu", "cpu"):  # the same weights have the same scores
        scores = run.evaluate(accelerator=accelerator)
        for name, score in scores.items():
            assert score == pytest.approx(result["metrics"][name], rel=2e-3, abs=1e-3), name
    inputs = INPUTS.get(task, ["w1 w2 w3", "w4"])
    done = {name for name in USES if on_both(run, USES[name], inputs)}
    assert done == {"predict", *DOES.get(task, {"encode", "attribute"})}
    if task == "numbers":
        assert (run.export(files / "export") / "model.onnx").stat().st_size > 1000


def on_both(run: Run, use: Callable[..., Any], inputs: Any) -> bool:
    """Whether this run can be used so; the answer of the device must be the CPU's."""
    try:
        made, expected = ([*use(run, inputs, accelerator=a)] for a in ("gpu", "cpu"))
    except UserError:
        return False
    assert len(made) == len(expected) > 0
    assert numbers(made) == pytest.approx(numbers(expected), rel=1e-3, abs=1e-4)
    return True


def numbers(value: Any) -> list[float]:
    """All numbers in it."""
    if isinstance(value, str):
        return [float(ord(letter)) for letter in value]
    if isinstance(value, dict):
        return numbers([*value.values()])
    if isinstance(value, torch.Tensor):
        assert value.device.type == "cpu"
        return value.double().flatten().tolist()
    return [n for v in value for n in numbers(v)] if isinstance(value, list) else [float(value)]


def streamed(run: Run, inputs: Any, accelerator: str) -> Any:
    stream = run.stream(len(inputs), accelerator)
    return [stream(inputs), stream(inputs)]


USES: dict[str, Callable[..., Any]] = {
    "predict": lambda run, inputs, **on: run.predict(inputs, **on),
    "beam": lambda run, inputs, **on: run.predict(inputs, beam=3, **on),
    "encode": lambda run, inputs, **on: run.encode(inputs, **on),
    "attention": lambda run, inputs, **on: run.attention(inputs, **on),
    "attribute": lambda run, inputs, **on: run.attribute(inputs, **on),
    "generate": lambda run, inputs, **on: run.generate("w1", 10, temperature=0.01, **on),
    "stream": streamed,
}
DOES = {
    "forecasting": {"encode"},
    "numbers": {"encode", "stream", "attribute"},
    "recursive": {"encode", "stream"},
    "language model": {"encode", "generate", "stream", "attribute"},
    "seq2seq": {"beam", "attention"},
}


@pytest.mark.parametrize(
    "kind",
    [
        *existing("classification", "language model"),
        *(pytest.param(kind, marks=pytest.mark.long) for kind in existing("tagging")),
    ],
)
def test_a_resumed_training_is_the_whole_one(kind: str, files: Path, device: torch.device) -> None:
    """With dropout between layers, whose numbers cuDNN would keep for itself."""
    words = (*RUNS[kind], *SMALL, "trainer.max_epochs=-1", "trainer.max_steps=8", "folder=whole")
    words += ("model.encoder.num_layers=2", "model.encoder.dropout=0.3")
    words += ("trainer.deterministic=true",)
    train(compose(*words), words, callbacks=[Copy("half", 4)])
    train(compose("resume=half"), ["resume=half"])
    one, two = (read_checkpoint(Path(f"{f}/checkpoints/last.ckpt")) for f in ("whole", "half"))
    assert one["global_step"] == two["global_step"] == 8
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, two["state_dict"][name]), name


# ---------------------------------------------------------------- other uses


ONE_EACH = [*{kind: (kind, head) for kind, head in PAIRS}.values()]
LENGTHS = torch.tensor([7, 1, 4])


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:LSTM with projections")  # of the CPU
@pytest.mark.parametrize("lengths", [LENGTHS, torch.full((3,), 7)], ids=["ragged", "equal"])
@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lstm", "bidirectional": True},
        {"cell": "lstm", "proj_size": 3},
        {"cell": "gru", "bidirectional": True},
        {"cell": "rnn"},
    ],
    ids=lambda x: "-".join(map(str, x.values())),
)
def test_packed_and_padded_rows_agree_with_the_cpu(
    options: dict[str, Any], lengths: Tensor, device: torch.device
) -> None:
    torch.manual_seed(0)
    inputs, state = torch.randn(3, 7, 5), None
    for start in (False, True):
        found = {}
        for packing in ("packed", "padded"):
            torch.manual_seed(1)
            encoder = RecurrentEncoder(5, 6, 2, packing=packing, **options)  # type: ignore[arg-type]
            for place in (torch.device("cpu"), device):
                given = state and tuple(part.to(place) for part in state)
                given = given[0] if given and options["cell"] != "lstm" else given
                states = encoder.to(place)(inputs.to(place), lengths, state=given)
                found[packing, place.type] = {k: v.cpu() for k, v in states.tensors.items()}
        first, *others = found.values()
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-3, atol=1e-3)
        if not start:
            finals = [v for k, v in first.items() if k != "output"]
            state = tuple(part.flatten(0, 1) for part in finals)


@pytest.mark.parametrize(
    ("lengths", "width"), [(LENGTHS, 8), (torch.full((3,), 7), 5)], ids=["ragged", "equal"]
)
def test_an_lstm_reads_a_width_for_tensor_cores_or_its_own(
    lengths: Tensor, width: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths, lstm = list[int](), ragged.CALLS["LSTM"]

    def seen(inputs: Tensor, *others: Any) -> Any:
        widths.append(inputs.shape[2])
        return lstm(inputs, *others)

    monkeypatch.setattr(ragged, "CALLS", {**ragged.CALLS, "LSTM": seen})
    encoder = RecurrentEncoder(5, 6, 2, dropout=0.3).to(device).train()  # layer by layer
    encoder(torch.randn(3, 7, 5).to(device), lengths)
    assert widths == [width, 8 if width == 8 else 6]


def test_rows_of_more_steps_than_cudnn_takes(device: torch.device) -> None:
    steps, encoder = MOST_STEPS + 10, RecurrentEncoder(2, 3).to(device)
    inputs = torch.randn(2, steps, 2, device=device)
    with torch.no_grad():
        for lengths in (torch.tensor([steps, 5]), torch.full((2,), steps)):
            whole = encoder(inputs, lengths)
            half = encoder(inputs[:1, : steps // 2])
            rest = encoder(inputs[:1, steps // 2 :], state=half.state)
            expected = rest.output[0, -1].cpu()
            torch.testing.assert_close(whole.output[0, -1].cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("kind", "head"), ONE_EACH, ids=lambda x: getattr(x, "__name__", x))
def test_pin_memory_pins_every_tensor_that_travels(
    kind: type[Task], head: str, device: torch.device
) -> None:
    pinned = small_batch(two_layer_task(kind, head, {})).pin_memory()
    for side in (pinned, getattr(pinned, "target", pinned)):
        held = (side.inputs, side.lengths, side.targets, side.scale)
        assert all(tensor.is_pinned() for tensor in held if tensor is not None)


class LastColumn(nn.Module):
    """A mistake to be found: `output[:, -1]` of two directions, on padded rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 8, batch_first=True, bidirectional=True)
        self.project = nn.Linear(16, 2)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.project(self.rnn(inputs)[0][:, -1])


def test_the_audit_finds_a_mistake(device: torch.device) -> None:
    model, state = LastColumn().to(device), torch.get_rng_state()
    drawn = torch.get_device_module(device).get_rng_state()
    found = audit(model, torch.randn(3, 5, 3).to(device), torch.tensor([5, 3, 2]))
    assert found.names == ["padding_leak", "truncated_direction"]
    torch.set_rng_state(state)
    torch.randn(3, 5, 3)
    assert torch.equal(torch.get_device_module(device).get_rng_state(), drawn)


@pytest.mark.parametrize(("kind", "head"), ONE_EACH, ids=lambda x: getattr(x, "__name__", x))
def test_the_audit_accuses_nobody(kind: type[Task], head: str, device: torch.device) -> None:
    task = two_layer_task(kind, head, {"num_layers": 1}).to(device)
    batch = small_batch(task)
    how: dict[str, Any] = {"kind": "per_step" if task.contract.per == "step" else "sequence"}
    if task.contract.kind.decoder:
        how = {"kind": "seq2seq", "target_inputs": batch.target.inputs.to(device)}  # type: ignore[attr-defined]
    how["causal"] = task.contract.causal
    found = audit(task.network, batch.inputs.to(device), batch.lengths, **how, thorough=False)
    assert found.names == []


def test_weights_lie_as_cudnn_expects_them() -> None:
    """All matrices of all layers, then all biases, as PyTorch's own `flatten_parameters`."""
    lstm = nn.LSTM(3, 8, 2, bidirectional=True, proj_size=4)
    placed = side_by_side(lstm._flat_weights)
    assert all(torch.equal(a, b) for a, b in zip(placed, lstm._flat_weights))
    where = {w.data_ptr(): name for w, name in zip(placed, lstm._flat_weights_names)}
    names = [where[each] for each in sorted(where)]
    assert names == sorted(lstm._flat_weights_names, key=lambda name: name.startswith("bias"))
