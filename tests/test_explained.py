"""The interactive page of the site, opened in a real browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
import runpy
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from playwright.sync_api import Browser, Page
from torch import Tensor, nn

from seqmodels import tasks
from seqmodels.dataflow import trace
from seqmodels.dataflow.diagram import draw
from seqmodels.dataflow.explain import example_batch
from seqmodels.dataflow.rendering import to_svg
from seqmodels.heads import HEADS, Head
from seqmodels.nn.cell import CELLS, Cell, SteppedRNN
from seqmodels.nn.encoder import RNNOutput
from tests.conftest import ROOT
from tests.networks import example_task
from tests.shipped import (
    ALL_HEADS,
    DECODER_HEADS,
    LANGUAGE_HEADS,
    SELECTING_HEADS,
    fitting_directions,
    with_directions,
)

EXPLAINED = runpy.run_path(str(ROOT / "docs" / "explained.py"))
page, choice_name, pytorch_code, torch_shapes = (
    EXPLAINED[name] for name in ("page", "choice_name", "pytorch_code", "torch_shapes")
)
LENGTH, LENGTHS = 4, (5, 4, 2)
CHOICE = ("cell", "layers", "directions", "length", "head")


@pytest.fixture(scope="module")
def html() -> str:
    return page()


def unpacked(html: str) -> dict[str, Any]:
    """The pictures in a page, by choice."""
    [packed] = re.findall(r'const packed = "(.*?)";', html)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


class Opened:
    """The page in a window of that width, and what it said and asked for."""

    def __init__(
        self,
        browser: Browser,
        file: Path,
        width: int,
        anchor: str = "",
        scheme: Literal["light", "dark"] = "light",
    ) -> None:
        self.page: Page = browser.new_page(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri() + anchor)
        self.page.wait_for_selector("html[data-ready]")

    def choose(self, **choice: Any) -> None:
        for name, value in choice.items():
            self.page.select_option(f"select[name={name}]", str(value))

    def text(self, selector: str) -> str:
        return self.page.locator(selector).text_content() or ""


@pytest.fixture
def file(html: str, tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    return path


def test_every_choice_has_its_measured_picture(html: str) -> None:
    assert "h_n -&gt; bidirectional_concat: LSTM, 2 layers" in html  # before any script runs
    entries = unpacked(html)
    kinds = json.loads(re.findall(r"const tasks = (.*?);", html)[0])
    made_for = {head: type(example_task("lstm", 1, None, head)).__name__ for head in HEADS}
    for values in product(CELLS, (1, 2, 3), (1, 2), LENGTHS, ALL_HEADS):
        choice = dict(zip(CHOICE, values, strict=True))
        entry = entries[f"{kinds[made_for[values[-1]]][values[-1]]}-{choice_name(choice)}"]
        if (choice["directions"] == 2) not in fitting_directions(choice["head"]):
            assert re.search("needs a|must read in one direction", entry["refused"])
            assert "picture" not in entry
            continue
        if choice["layers"] == 2 and choice["length"] == 4:  # the others are made the same way
            task = example_task(choice["cell"], 2, choice["directions"] == 2, choice["head"])
            seen = trace(task, example_batch(task, 4))
            assert entry["picture"] == to_svg(draw(task, seen, row=1))
        assert f"{choice['layers']} layer" in entry["picture"]
    pictured = {(entry.split("-")[0], entry.split("-")[-1]) for entry in entries}
    assert {head for _, head in pictured} == set(HEADS)
    assert len(entries) == 3 * 3 * 2 * len(LENGTHS) * len(pictured)


def test_it_shows_what_is_chosen(browser: Browser, file: Path) -> None:
    opened = Opened(browser, file, 1000)
    assert "h_n -> bidirectional_concat: LSTM, 2 layers, both" in opened.text("figure title")
    opened.choose(head="mean_pool", layers=3, directions=1, cell="gru", length=2)
    assert opened.text("figure title") == "output -> mean_pool: GRU, 3 layers, one direction"
    assert opened.page.locator("figure svg").get_by_text("50 %").count() == 4  # cells and output
    assert "nn.GRU(F, H, num_layers=3, batch_first=True)" in opened.text("pre")
    assert opened.text("pre strong").strip() == "features = output.sum(dim=1) / lengths[:, None]"
    assert opened.page.locator("tbody tr").all_text_contents() == [
        "output(B, T, H)h of the last layer at every step: forward half, then backward half"
        "feeds the head: 100\u00a0%",
        "h_n(3, B, H)h of every layer and direction after its own last step",
    ]
    opened.choose(head="last_hidden", directions=2)
    assert "needs a one-directional encoder, because h_n[-1]" in opened.text("figure")
    assert not opened.page.locator("pre").is_visible()
    opened.choose(directions=1, cell="lstm")
    assert opened.text("figure title") == "h_n -> last_hidden: LSTM, 3 layers, one direction"
    assert "c_n(3, B, H)" in opened.text("tbody")
    assert opened.said == [] and opened.requests == [file.as_uri()]


def test_a_task_has_the_heads_that_fit_it(browser: Browser, file: Path) -> None:
    opened = Opened(browser, file, 1000)
    visible = "[...document.querySelector('select[name=head]').options].filter(o => !o.hidden)"
    heads = opened.page.evaluate(f"{visible}.map(o => o.value)")
    assert "mean_pool" in heads and not {"every_step", "softmax"} & {*heads}
    names = opened.page.evaluate("[...document.querySelector('select').options].map(o => o.text)")
    assert "sequence classifier" in names
    if hasattr(tasks, "Tagger"):
        assert "tagger" in names
        opened.choose(task="Tagger")
        assert opened.page.evaluate(f"{visible}.map(o => o.value)") == ["every_step"]
        assert opened.text("figure title") == (
            "output -> every_step, every step: LSTM, 2 layers, both directions"
        )
        assert opened.page.locator("figure svg").get_by_text("y0", exact=True).count() == 1
    if LANGUAGE_HEADS:
        assert "language model" in names
        opened.choose(task="LanguageModel")
        assert "must read in one direction" in opened.text("figure")
        opened.choose(directions=1, head="softmax")
        assert opened.page.locator("figure svg").get_by_text("p(x1)", exact=True).count() == 1
    if DECODER_HEADS:
        opened.choose(task="Seq2Seq", directions=2, head="attention")
        assert opened.page.evaluate(f"{visible}.map(o => o.value)") == ["final_state", "attention"]
        assert opened.text("figure title").startswith(
            "output and h_n and c_n -> attention: LSTM, 2"
        )
        assert (
            opened.page.locator("figure svg").get_by_text("from layer 2", exact=True).count() == 1
        )
        assert "weights @ output" in opened.text("pre strong")
    assert opened.said == []


def test_it_is_used_by_keyboard(browser: Browser, file: Path) -> None:
    opened = Opened(browser, file, 1000)
    for _ in range(2):
        opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("ArrowDown")
    assert "GRU" in opened.text("figure title")
    for _ in range(4):
        opened.page.keyboard.press("Tab")
    opened.page.keyboard.type("max_p")
    assert "max_pool" in opened.text("figure title")
    assert opened.page.evaluate("document.activeElement.name") == "head"


def test_a_choice_has_an_address(browser: Browser, file: Path) -> None:
    opened = Opened(browser, file, 1000, "#SequenceClassifier-rnn-1-2-5-max_pool")
    assert opened.text("figure title") == "output -> max_pool: RNN, 1 layer, both directions"
    opened.choose(layers=3)
    assert opened.page.url.endswith("#SequenceClassifier-rnn-3-2-5-max_pool")
    assert Opened(browser, file, 1000, "#nonsense").page.url.endswith(
        "#SequenceClassifier-lstm-2-2-4-bidirectional_concat"
    )


# boxes that a reader looks for, in wide and narrow pictures, and code in long lines
WIDEST = (
    "#SequenceClassifier-lstm-3-2-5-bidirectional_concat",
    "#SequenceClassifier-gru-1-2-4-max_attention_pool",
    "#LanguageModel-lstm-2-1-4-softmax",
    "#Tagger-lstm-2-2-5-every_step",
)


EDGES = """selector => [...document.querySelectorAll(selector)]
  .filter(each => each.getClientRects().length)
  .map(each => each.getBoundingClientRect()).map(box => [box.left, box.right])"""


WIDTH_OF_ITS_WORDS = """select => {
  const copy = select.cloneNode(true);
  copy.style.width = "max-content";
  select.form.append(copy);
  const { width } = copy.getBoundingClientRect();
  copy.remove();
  return width;
}"""


@pytest.mark.parametrize("anchor", WIDEST)
@pytest.mark.parametrize("width", [360, 390, 640, 1200])  # 640: in a page of the site
def test_it_fits(browser: Browser, file: Path, width: int, anchor: str) -> None:
    opened = Opened(browser, file, width, anchor)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    for select in opened.page.locator("select").all():
        box = select.bounding_box()
        assert box is not None and box["width"] >= 90 and box["height"] >= 32
        assert box["width"] >= select.evaluate(WIDTH_OF_ITS_WORDS)  # none is cut off
    edges = opened.page.evaluate(EDGES, "figure svg text, pre span, td")
    assert len(edges) > 20
    assert all(left >= 0 and right <= width for left, right in edges)
    for inside in ("figure", "pre"):  # nothing has to be scrolled there
        assert opened.page.evaluate(
            "name => { const e = document.querySelector(name);"
            " return e.scrollWidth <= e.clientWidth }",
            inside,
        )
    assert opened.said == []


COLOURS = """selector => {
  const style = getComputedStyle(document.querySelector(selector));
  return [style.fill, style.backgroundColor, style.color];
}"""


def lightness(colour: str) -> float:
    red, green, blue = (int(number) for number in re.findall(r"\d+", colour)[:3])
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


def test_it_is_dark_for_those_who_prefer_it(browser: Browser, file: Path) -> None:
    for scheme, dark in (("light", False), ("dark", True)):
        opened = Opened(browser, file, 800, scheme=scheme)  # type: ignore[arg-type]
        for selector, property in (("html", 1), ("figure", 1), ("select", 1), ("svg > rect", 0)):
            colour = opened.page.evaluate(COLOURS, selector)[property]
            assert (lightness(colour) < 0.2) == dark and (lightness(colour) > 0.9) != dark
        for selector, property in (("html", 2), ("pre", 2), ("svg > text", 0)):
            assert (lightness(opened.page.evaluate(COLOURS, selector)[property]) > 0.7) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_in_a_box_can_be_read(
    browser: Browser, file: Path, scheme: Literal["light", "dark"]
) -> None:
    opened = Opened(browser, file, 800, "#SequenceClassifier-lstm-2-2-4-concat_pool", scheme)
    drawn = opened.page.evaluate(
        """() => [...document.querySelectorAll("svg g rect")].map(box => {
          const fill = element => getComputedStyle(element).fill;
          return [fill(box), ...(box.nextElementSibling?.tagName === "text"
                                 ? [fill(box.nextElementSibling)] : [])];
        }).filter(pair => pair.length === 2)"""
    )
    assert len(drawn) > 20
    for paper, ink in drawn:
        assert abs(lightness(paper) - lightness(ink)) > 0.35, (paper, ink)


# ---------------------------------------------------------------- the code beside the picture


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("layers", [1, 3])
@with_directions(SELECTING_HEADS)
def test_the_code_that_is_shown_selects_what_the_head_selects(
    head: str, directions: int, layers: int, cell: str
) -> None:
    task = example_task(cell, layers, directions == 2, head)
    batch = example_batch(task, LENGTH)
    task.eval()
    names: dict[str, Any] = {
        "torch": torch,
        "nn": nn,
        "pack_padded_sequence": nn.utils.rnn.pack_padded_sequence,
        "pad_packed_sequence": nn.utils.rnn.pad_packed_sequence,
        "inputs": task.embed(batch),
        "lengths": batch.lengths,
        "F": task.encoder.rnn.input_size,
        "H": task.encoder.rnn.hidden_size,
        **dict(task.head.named_children()),
    }
    setup, select = pytorch_code(task.head, task.encoder)
    first, *rest = setup.splitlines()
    exec(first, names)
    assert isinstance(names["rnn"], type(task.encoder.rnn))
    names["rnn"].load_state_dict(task.encoder.rnn.state_dict())
    exec("\n".join([*rest, select]), names)
    expected = task.head.select(task.encoder(task.embed(batch), batch.lengths))
    assert torch.allclose(names["features"], expected, atol=1e-6)
    sizes = {"B": 2, "T": 5, "H": names["H"]}
    for name, shape in torch_shapes(task.encoder).items():
        assert tuple(names[name].shape) == eval(shape, sizes)


@pytest.mark.parametrize("cell", list(CELLS))
@with_directions(DECODER_HEADS)
def test_the_code_of_a_decoder_computes_its_features(head: str, directions: int, cell: str) -> None:
    task = example_task(cell, 2, directions == 2, head).eval()
    batch, decoder = example_batch(task, LENGTH), task.head.output
    states = task.encoder(task.embed(batch), batch.lengths)
    names: dict[str, Any] = {
        "torch": torch,
        "decoder": decoder.rnn.rnn,
        "targets_so_far": decoder.embedding(batch.target.inputs),
        "output": states.output,
        "mask": states.mask,
        "h_n": states.h_n.flatten(0, 1),
        "c_n": None if states.c_n is None else states.c_n.flatten(0, 1),
        "D": directions,
    }
    if head == "attention":
        names |= {"to_key": decoder.attention.to_key, "combine": decoder.combine}
    exec(pytorch_code(task.head, task.encoder)[1], names)
    start = decoder.carried(task.head.features(states))
    expected, _, _ = decoder.read(batch.target.inputs, start)
    torch.testing.assert_close(names["features"], expected)


def test_a_head_without_pytorch_code_shows_its_own() -> None:
    class Forked(Head, name="forked"):
        reads = ("h_n",)

        def select(self, states: RNNOutput) -> Tensor:
            return states.h_n[-1, 0]

    task = example_task("lstm", 1, False, "forked")
    assert pytorch_code(task.head, task.encoder)[1].endswith("return states.h_n[-1, 0]")


def test_a_cell_of_ones_own_is_shown_as_code_that_runs(modules_of_their_own: None) -> None:
    class Own(Cell, nn.LSTMCell, name="own_lstm"):
        pass

    model = example_task("own_lstm", 2, True, "bidirectional_concat")
    code = "\n".join(pytorch_code(model.head, model.encoder))
    assert code.startswith("rnn = SteppedRNN(Own, F, H, num_layers=2, bidirectional=True)\n")
    inputs, lengths = torch.randn(3, 5, 4), torch.tensor([5, 2, 1])
    names = {"SteppedRNN": SteppedRNN, "Own": Own, "torch": torch, "F": 4, "H": 6}
    names |= {"inputs": inputs, "lengths": lengths}
    exec(code, names)
    assert names["features"].shape == (3, 12)
