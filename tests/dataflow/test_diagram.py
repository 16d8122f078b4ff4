"""The picture, the table, and the callback that shows them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from rich.console import Console
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.dataflow import Trace, trace
from seqmodels.dataflow.callback import few_steps, steps_to_trace
from seqmodels.dataflow.diagram import Box, Drawing, colours, draw, percent, to_svg
from seqmodels.dataflow.explain import example_batch
from seqmodels.dataflow.table import tensor_table
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.runs import train
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config
from tests.make import build_task
from tests.networks import example_task
from tests.shipped import ALL_HEADS, DECODER_HEADS, SELECTING_HEADS, with_directions

LENGTH = 4
SVG = "{http://www.w3.org/2000/svg}"


def drawn(head: str, directions: int, layers: int = 2) -> tuple[Drawing, Trace]:
    task = example_task("lstm", layers, directions == 2, head)
    seen = trace(task.network, example_batch(task, LENGTH))
    return draw(task, seen, row=1), seen


def boxes_of(drawing: Drawing, kind: str) -> list[Box]:
    return [box for box in drawing.boxes if box.kind == kind]


# ---------------------------------------------------------------- the picture


@with_directions(SELECTING_HEADS)
def test_what_is_lit_is_what_was_measured(head: str, directions: int) -> None:
    drawing, seen = drawn(head, directions)
    cells, output = boxes_of(drawing, "cell"), boxes_of(drawing, "output")
    assert not any(box.share for box in boxes_of(drawing, "padding"))
    assert [box.share for box in output] == seen.output[1, :LENGTH].flatten().tolist()
    states = boxes_of(drawing, "state")
    assert len(states) == 2 * 2 * directions  # h_n and c_n of each layer and direction
    read = [box for box in states if box.share]
    assert {box.lines[0] for box in read} == {*HEADS[head].reads} - {"output"}
    assert all(box.lines[1] == percent(box.share, box.width) for box in read)
    # the cells of the last layer carry what is read of output and of the final states
    assert sum(box.share for box in cells) == pytest.approx(1, abs=1e-5)
    assert not any(box.share for box in cells[: LENGTH * directions])  # of the first layer
    assert sum(reads for reads, _ in drawing.arrows) == sum(box.share > 0 for box in output) + len(
        read
    )


def test_each_direction_ends_where_it_should() -> None:
    drawing, seen = drawn("bidirectional_concat", 2)
    lit = sorted((box for box in boxes_of(drawing, "cell") if box.share), key=lambda box: -box.x)
    ends = [pytest.approx(float(share)) for share in seen.finals["h_n"][1, -1]]
    assert [box.share for box in lit] == ends  # forward at its last step, backward at the first
    right, left = sorted(
        (box for box in boxes_of(drawing, "state") if box.share), key=lambda box: -box.x
    )
    assert left.lines[0] == right.lines[0] == "h_n" and left.x < lit[1].x < lit[0].x < right.x


@with_directions(DECODER_HEADS)
def test_a_decoder_starts_from_the_states_of_its_layer(head: str, directions: int) -> None:
    drawing, seen = drawn(head, directions, layers=3)
    for layer in range(3):
        [line] = [y for _, y, text in drawing.labels if text == f"from layer {layer + 1}"]
        shares = {b.text: b.share for b in boxes_of(drawing, "state") if b.y == line}
        finals = {"h_0": seen.finals["h_n"], "c_0": seen.finals["c_n"]}
        assert shares == pytest.approx({n: float(s[1, layer].sum()) for n, s in finals.items()})
    context = [box.share for box in drawing.boxes if box.text == "context"]
    attended = pytest.approx(float(seen.output[1].sum()), abs=1e-6)
    assert context == ([attended] if head == "attention" else [])


@with_directions(ALL_HEADS)
def test_no_boxes_overlap_and_all_are_in_the_svg(head: str, directions: int) -> None:
    drawing, _ = drawn(head, directions)
    words = [element.text or "" for element in ET.fromstring(to_svg(drawing)).iter(f"{SVG}text")]
    assert {*drawing.title.split(": ")} <= {*words}
    taken: set[tuple[int, int]] = set()
    for box in drawing.boxes:
        rows = range(box.y, box.y + len(box.lines))
        places = {(x, y) for x in range(box.x, box.x + box.width) for y in rows}
        assert not taken & places and box.x >= 0 and box.x + box.width <= drawing.width
        taken |= places
        assert not box.text or {*box.lines} <= {*words}


def test_weights_that_are_no_numbers_are_drawn_unlit() -> None:
    task = example_task("lstm", 1, False, "last_hidden")
    torch.nn.init.constant_(task.network.head.output.project.weight, torch.nan)
    seen = trace(task.network, example_batch(task, LENGTH))
    assert {*colours(draw(task, seen, row=1))} == {None}


@pytest.mark.parametrize("lengths", [[9, 7, 2], [1, 1], [3]], ids=str)
def test_few_steps_of_any_batch(lengths: list[int]) -> None:
    inputs = torch.randn(len(lengths), max(lengths), 3)
    few = few_steps(SequenceBatch(inputs, torch.tensor(lengths)))
    assert len(few) == 2 and few.inputs.shape[1] == min(max(lengths), 5)
    assert int(few.lengths[1]) >= 1 and not few.inputs[1, few.lengths[1] :].any()


@pytest.mark.parametrize(
    ("features", "window", "steps"),
    [(1, None, 2_048), (1_000, None, 400), (1_000, 7, 7), (300_000, None, 5)],
)
def test_rows_of_many_features_are_traced_for_fewer_steps(
    features: int, window: int | None, steps: int
) -> None:
    task = example_task("lstm", 1, False, "last_hidden")
    task.network.window = window
    inputs = torch.zeros(1).expand(1, 3_000, features)  # which take no memory
    batch = SequenceBatch(torch.zeros(1, 1, features), torch.tensor([1]))
    object.__setattr__(batch, "inputs", inputs)
    assert steps_to_trace(task, batch) == steps


# ---------------------------------------------------------------- the table


READ = {
    ("last_hidden", 1, 1): [r"h_n +\(L, D, B, H\) +\(1, 1, 2, 32\) .*head: layer 1, 100%"],
    ("bidirectional_concat", 3, 2): [r"h_n .*\(3, 2, 2, 32\) .*layer 3, both directions, 100%"],
    ("concat_pool", 2, 2): [
        *(r"output +\(B, T, D\*H\) .*every step, both directions, \d\d%", r"h_n .*layer 2, both"),
    ],
    ("softmax", 1, 1): ["output .*head: every step, 100%", "h_n .*next window", "c_n .*next win"],
    ("final_state", 2, 2): [
        "h_n .*decoder: layers 1 and 2, both",
        r"c_n +\(L, D, B, H\) +\(2, 2, 2, 32\) .*decoder: layers 1 and 2, both",
        r"logits +\(B, S, V\) +\(2, 4, 100\) +of the next token",
    ],
}


@pytest.mark.parametrize(("head", "layers", "directions"), [key for key in READ if key[0] in HEADS])
def test_the_table_says_what_is_read(head: str, layers: int, directions: int) -> None:
    task, console = example_task("lstm", layers, directions == 2, head), Console(width=120)
    with console.capture() as capture:
        console.print(tensor_table(task, trace(task.network, example_batch(task, LENGTH))))
    table = capture.get()
    for row in READ[head, layers, directions]:
        assert re.search(row, table), table
    reader = "decoder:" if head in DECODER_HEADS else "head:"
    assert table.count(reader) == len(HEADS[head].reads)


def test_the_table_fits_a_narrow_terminal() -> None:
    task, console = example_task("lstm", 1, False, "last_hidden"), Console(width=78)
    with console.capture() as capture:
        console.print(tensor_table(task, trace(task.network, example_batch(task, LENGTH))))
    broken = [line.startswith(" " * 10) for line in capture.get().splitlines() if line.strip()]
    assert not any(one and two for one, two in pairwise(broken))  # two lines each at most


@pytest.mark.parametrize(
    ("segment", "head", "line"),
    [
        (
            3,
            "concat_pool",
            "segments of 3 steps (model.encoder.segment): memory does not grow with",
        ),
        (3, "max_attention_pool", "memory does not grow with them but for output"),
        (50, "concat_pool", None),
        ("auto", "concat_pool", None),
    ],
)
def test_the_table_says_how_long_rows_are_read(
    segment: int | str, head: str, line: str | None
) -> None:
    data = {"inputs": "tokens", "num_inputs": 9, "classes": ["a", "b"]}
    task = build_task(SequenceClassifier, data, head, encoder={"segment": segment})
    console = Console(width=200)
    with console.capture() as capture:
        console.print(tensor_table(task, trace(task.network, example_batch(task, LENGTH))))
    text = capture.get()
    if line is None:
        assert "segments" not in text
    else:
        assert line in text


# ---------------------------------------------------------------- the callback


def test_a_run_is_drawn_before_and_after_and_is_not_changed(config: Config, tmp_path: Path) -> None:
    words = ("model.head=bidirectional_concat", "model.encoder.num_layers=2")
    settings = config(*words)
    file, before = Path(settings.folder) / "dataflow.svg", []
    shown = LambdaCallback(on_train_end=lambda *_: before.append(file.read_text()))
    result = train(settings, callbacks=[shown])
    after = file.read_text()
    assert "h_n -&gt; bidirectional_concat: LSTM, 2 layers, both directions" in after
    assert before and before != [after]  # its shares are those of the trained model
    without = config(*words, f"folder={tmp_path / 'without'}", "callbacks.dataflow=null")
    assert train(without)["metrics"] == result["metrics"]


def test_a_model_that_leaks_is_not_trained_or_with_a_warning(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Leaking(Head, name="leaking"):
        reads = ("output",)

        def select(self, states: RNNOutput) -> Tensor:
            return states.output.mean(dim=1)

    class Second(Leaking, name="second"):
        def select(self, states: RNNOutput) -> Tensor:
            return states.output[:, 1:2].sum(dim=1)

    with pytest.raises(UserError, match="^model.head=leaking: padding_leak: .*refuse=false"):
        train(config("model.head=leaking"))
    assert not (tmp_path / "run").exists()
    quick = ("trainer.max_steps=2", "baseline=false", f"folder={tmp_path / 'anyway'}")
    train(config("model.head=leaking", "callbacks.dataflow.refuse=false", *quick))
    assert "model.head=leaking: padding_leak" in caplog.text
    assert train(config("model.head=second", *quick[:2]))["status"] == "completed"
    assert "model.head=second: unread_step" in caplog.text  # what is unused is only a warning
