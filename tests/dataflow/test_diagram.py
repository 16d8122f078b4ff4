"""The picture, the table, and the callback that shows them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from rich.console import Console
from torch import Tensor

from seqmodels.batch import SequenceBatch
from seqmodels.dataflow import Dataflow, Trace, trace
from seqmodels.dataflow.callback import few_steps
from seqmodels.dataflow.diagram import draw, percent
from seqmodels.dataflow.explain import TARGET_STEPS, example_batch
from seqmodels.dataflow.rendering import Arrow, Box, Drawing, depths, to_svg, to_text
from seqmodels.dataflow.table import tensor_table
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.runs import train
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config
from tests.networks import example_task
from tests.shipped import ALL_HEADS, DECODER_HEADS, SELECTING_HEADS, with_directions

LENGTH = 4


heads_and_directions = with_directions(ALL_HEADS)


def drawn(head: str, layers: int, directions: int, cell: str = "lstm") -> tuple[Drawing, Trace]:
    task = example_task(cell, layers, directions == 2, head)
    seen = trace(task, example_batch(task, LENGTH))
    return draw(task, seen, row=1), seen


# ---------------------------------------------------------------- the picture


@pytest.mark.parametrize("layers", [1, 3])
@with_directions(SELECTING_HEADS)
def test_what_is_lit_is_what_was_measured(head: str, directions: int, layers: int) -> None:
    drawing, seen = drawn(head, layers, directions)
    time = seen.output.shape[1]
    boxes = drawing.boxes
    output = [box for box in boxes if box.y == 4]
    assert [box.share for box in output] == seen.output[1].flatten().tolist()
    states = [box for box in boxes if box.kind == "state"]
    assert len(states) == 2 * layers * directions  # h_n and c_n of each layer and direction
    read = [box for box in states if box.share]
    assert {box.lines[0] for box in read} == set(HEADS[head].reads) - {"output"}
    assert all(box.lines[1] == percent(box.share, box.width) for box in read)
    assert all(box.y < 6 + directions for box in read)  # of the last layer
    cells = [box for box in boxes if box.kind == "cell"]
    assert len(cells) == layers * directions * LENGTH
    # the cells of the last layer carry what is read of output and of the final states
    assert sum(box.share for box in cells) == pytest.approx(1, abs=1e-5)
    assert sum(box.kind == "padding" for box in boxes) == (time - LENGTH) * (
        directions + layers * directions + 1
    )
    arrows = [arrow for arrow in drawing.arrows if arrow.reads]
    assert len(arrows) == sum(box.share > 0 for box in output) + len(read)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@with_directions(DECODER_HEADS)
def test_a_decoder_starts_from_the_states_of_its_layer(
    head: str, directions: int, cell: str, layers: int
) -> None:
    drawing, seen = drawn(head, layers, directions, cell)
    boxes, names = drawing.boxes, {"h": seen.h_n, "c": seen.c_n}
    lowest = max(box.y for box in boxes if box.text == "start")
    for layer in range(layers):
        y = lowest - 1 - layer
        assert [label.text for label in drawing.labels if label.y == y] == [
            f"from layer {layer + 1}"
        ]
        starts = {box.text: box.share for box in boxes if box.y == y and box.kind == "state"}
        assert starts == {
            f"{name}_0": pytest.approx(float(cells[1, layer].sum()), abs=1e-6)
            for name, cells in names.items()
            if cells is not None
        }
        written = [box for box in boxes if box.y == y and box.kind == "cell"]
        assert [box.text for box in written] == [cell.upper()] * TARGET_STEPS
    assert [box.text for box in boxes if box.kind == "logits"] == [
        f"p(y{step})" for step in range(1, TARGET_STEPS + 1)
    ]
    context = [box.share for box in boxes if box.text == "context"]
    attends = head == "attention"
    assert context == ([pytest.approx(float(seen.output[1].sum()), abs=1e-6)] if attends else [])
    # the arrow to each state ends below the lowest layer, where it can be seen
    assert sum(arrow.to_y == lowest for arrow in drawing.arrows if arrow.reads) == len(starts)
    # and every layer and direction of the encoder is read
    read = [box for box in boxes if box.kind == "state" and "\n" in box.text]
    assert len(read) == layers * directions * (2 if cell == "lstm" else 1)


def test_each_direction_ends_where_it_should() -> None:
    drawing, _ = drawn("bidirectional_concat", 2, 2)
    forward, backward = (
        sorted(box.x for box in drawing.boxes if box.kind == "cell" and box.y == y and box.share)
        for y in (7, 6)
    )
    columns = sorted({box.x for box in drawing.boxes if box.kind == "cell"})
    assert forward == [columns[LENGTH - 1]] and backward == [columns[0]]
    read = [box for box in drawing.boxes if box.kind == "state" and box.share]
    left, right = sorted(read, key=lambda box: box.x)
    assert left.lines[0] == right.lines[0] == "h_n"
    assert left.x + left.width < columns[0] and columns[-1] < right.x
    assert left.y <= 6 < left.y + len(left.lines) and right.y <= 7 < right.y + len(right.lines)


def test_weights_that_are_no_numbers_are_drawn_unlit() -> None:
    task = example_task("lstm", 1, False, "last_hidden")
    torch.nn.init.constant_(task.head.output.project.weight, torch.nan)
    seen = trace(task, example_batch(task, LENGTH))
    assert set(depths(draw(task, seen, row=1))) == {None}


@heads_and_directions
def test_nothing_overlaps_and_all_is_inside(head: str, directions: int) -> None:
    drawing, _ = drawn(head, 2, directions)
    taken: set[tuple[int, int]] = set()
    for box in drawing.boxes:
        rows = range(box.y, box.y + len(box.lines))
        places = {(x, y) for x in range(box.x, box.x + box.width) for y in rows}
        assert not taken & places
        taken |= places
        assert box.x >= 0 and box.x + box.width <= drawing.width and 0 <= box.y < drawing.height
    for label in drawing.labels:
        first = int(label.x)
        assert not taken & {(x, label.y) for x in range(first, first + len(label.text))}
        assert label.x + len(label.text) <= drawing.width
        for arrow in (arrow for arrow in drawing.arrows if arrow.reads):
            crossed = label.x < arrow.x < label.x + len(label.text)
            assert not (crossed and arrow.to_y <= label.y < arrow.y)


@heads_and_directions
def test_terminal_and_svg_show_the_same(head: str, directions: int) -> None:
    drawing, _ = drawn(head, 2, directions)
    text = to_text(drawing).plain
    assert all(len(line) == drawing.width for line in text.splitlines())
    picture = ET.fromstring(to_svg(drawing))
    words = [element.text or "" for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    for box in drawing.boxes:
        for y, shown in enumerate(box.lines if box.text else [], start=box.y):
            line = text.splitlines()[y][box.x : box.x + box.width]
            assert shown in line and shown in words
    what, network = drawing.title.split(": ")
    assert what in words and network in words


def test_more_of_the_gradient_is_darker() -> None:
    drawing, _ = drawn("concat_pool", 1, 1)
    output = sorted((box for box in drawing.boxes if box.y == 4), key=lambda box: box.share)
    fills = re.findall(r'y="162" width="46" height="22" rx="4" fill="#(..)', to_svg(drawing))
    by_step = sorted((box.x, fill) for box, fill in zip(sorted(output, key=lambda b: b.x), fills))
    reds = {x: int(fill, 16) for x, fill in by_step}
    darkness = [reds[box.x] for box in output if box.share]
    assert darkness == sorted(darkness, reverse=True) and len(set(darkness)) > 1


def test_boxes_stand_before_arrows() -> None:
    drawing = Drawing("a: b", 20, 4, boxes=[Box(2, 1, 6, "", "cell")], arrows=[Arrow(5, 3, 5, 0)])
    group = ET.fromstring(to_svg(drawing)).find("{http://www.w3.org/2000/svg}g")
    assert group is not None and [part.tag.rpartition("}")[2] for part in group] == ["path", "rect"]


def test_the_title_is_safe_in_markup() -> None:
    class Odd(Head, name="<odd> & head"):
        reads = ("h_n",)

        def select(self, states: RNNOutput) -> Tensor:
            return states.h_n[-1, 0]

    drawing, _ = drawn("<odd> & head", 1, 1)
    assert "h_n -> <odd> & head" in drawing.title
    ET.fromstring(to_svg(drawing))


@pytest.mark.parametrize(
    ("share", "width", "text"),
    [(0.0, 6, ""), (0.001, 6, "<1 %"), (0.174, 6, "17 %"), (1.0, 6, "100 %"), (1.0, 3, "100")],
)
def test_percent(share: float, width: int, text: str) -> None:
    assert percent(share, width) == text and len(text) <= width


@pytest.mark.parametrize("lengths", [[9, 7, 2], [2, 9], [1, 1], [3]], ids=str)
def test_few_steps_of_any_batch(lengths: list[int]) -> None:
    batch = SequenceBatch(torch.randn(len(lengths), max(lengths), 3), torch.tensor(lengths))
    few = few_steps(batch)
    assert len(few) == 2 and few.inputs.shape[1] == min(max(lengths), 5)
    assert int(few.lengths[1]) >= 1 and not few.inputs[1, few.lengths[1] :].any()


# ---------------------------------------------------------------- the table


def printed_table(head: str, layers: int, directions: int) -> str:
    task = example_task("lstm", layers, directions == 2, head)
    seen = trace(task, example_batch(task, LENGTH))
    console = Console(width=120)
    with console.capture() as capture:
        console.print(tensor_table(task, seen))
    return capture.get()


READ = [
    ("last_hidden", 1, 1, [r"h_n +\(L, D, B, H\) +\(1, 1, 2, 32\) .*head: layer 1, 100%"]),
    (
        "bidirectional_concat",
        3,
        2,
        [r"h_n +\(L, D, B, H\) +\(3, 2, 2, 32\) .*head: layer 3, both directions, 100%"],
    ),
    (
        "last_output",
        2,
        1,
        [r"output +\(B, T, H\) +\(2, 5, 32\) .*head: own last step, 100%"],
    ),
    (
        "concat_pool",
        2,
        2,
        [
            r"output +\(B, T, D\*H\) +\(2, 5, 64\) .*head: every step, both directions, \d\d%",
            r"h_n .*head: layer 2, both directions, \d\d%",
        ],
    ),
    (
        "softmax",
        1,
        1,
        [r"output .*head: every step, 100%", r"h_n .*next window", "c_n .*next"],
    ),
    (
        "final_state",
        2,
        2,
        [
            r"output +\(B, T, D\*H\) +\(2, 5, 64\)",
            r"h_n .*decoder: layers 1 and 2, both",
            r"c_n +\(L, D, B, H\) +\(2, 2, 2, 32\) .*decoder: layers 1 and 2, both",
            r"logits +\(B, S, V\) +\(2, 4, 100\) +of the next token",
        ],
    ),
    (
        "attention",
        1,
        2,
        [
            r"output .*decoder: every step, both directions, \d",
            r"h_n .*decoder: layer 1, both",
        ],
    ),
]


@pytest.mark.parametrize(
    ("head", "layers", "directions", "rows"), [row for row in READ if row[0] in HEADS]
)
def test_the_table_says_what_is_read(
    head: str, layers: int, directions: int, rows: list[str]
) -> None:
    table = printed_table(head, layers, directions)
    for row in rows:
        assert re.search(row, table), table
    reader = "decoder:" if head in DECODER_HEADS else "head:"
    assert table.count(reader) == len(HEADS[head].reads)


# ---------------------------------------------------------------- the callback


def test_a_run_is_drawn_before_and_after(config: Config) -> None:
    settings = config("model.head=bidirectional_concat", "model.encoder.num_layers=2")
    file, before = Path(settings.folder) / "dataflow.svg", []
    shown = LambdaCallback(on_train_end=lambda *_: before.append(file.read_text()))
    train(settings, callbacks=[shown])
    after = file.read_text()
    assert "h_n -&gt; bidirectional_concat: LSTM, 2 layers, both directions" in after
    assert before and before != [after]  # its shares are those of the trained model


@pytest.fixture
def leaking_head() -> str:
    class Leaking(Head, name="leaking"):
        reads = ("output",)

        def select(self, states: RNNOutput) -> Tensor:
            return states.output.mean(dim=1)

    return "leaking"


def test_a_model_that_leaks_is_not_trained(config: Config, leaking_head: str) -> None:
    settings = config(f"model.head={leaking_head}")
    with pytest.raises(UserError, match="model.head=leaking: padding_leak: .* mask .*refuse=false"):
        train(settings)
    result = json.loads((Path(settings.folder) / "result.json").read_text())
    assert result["status"] == "failed" and "padding_leak" in result["error"]


def test_or_with_a_warning(
    config: Config, leaking_head: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(config(f"model.head={leaking_head}", "callbacks.dataflow.refuse=false"))
    assert result["status"] == "completed"
    assert "model.head=leaking: padding_leak" in caplog.text


def test_what_is_unused_is_a_warning(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    class Second(Head, name="second"):
        reads = ("output",)

        def select(self, states: RNNOutput) -> Tensor:
            return states.output[:, 1:2].sum(dim=1)

    assert train(config("model.head=second"))["status"] == "completed"
    assert "model.head=second: unread_step" in caplog.text


def test_a_wrong_declaration_is_not_trained(config: Config) -> None:
    class Wrong(Head, name="wrong"):
        reads = ("h_n",)

        def select(self, states: RNNOutput) -> Tensor:
            return states.output[:, 0]

    with pytest.raises(UserError, match="'wrong' declares reads=.*depend on output"):
        train(config("model.head=wrong"))


def test_the_callback_changes_no_run(config: Config, tmp_path: Path) -> None:
    runs = [
        train(config(f"folder={tmp_path / name}", *more))
        for name, more in (("with", []), ("without", ["callbacks.dataflow=null"]))
    ]
    assert runs[0]["metrics"] == runs[1]["metrics"]


@pytest.mark.filterwarnings("ignore:You defined a .validation_step", "ignore:.*LeafSpec")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_it_works_without_hydra_and_without_a_data_module(tmp_path: Path) -> None:
    data = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
    task = SequenceClassifier(
        data, {"hidden_size": 8}, optimizer={"_target_": "torch.optim.SGD", "lr": 0.1}
    )
    batches = [
        SequenceBatch(torch.randn(4, 6, 3), torch.tensor([6, 2, 5, 1]), torch.tensor([0, 1, 1, 0]))
        for _ in range(3)
    ]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[Dataflow()],
    )
    trainer.fit(task, loader)
    assert (tmp_path / "dataflow.svg").is_file()
