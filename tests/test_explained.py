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
from tests.shipped import ALL_HEADS, DECODER_HEADS, SELECTING_HEADS, with_directions

EXPLAINED = runpy.run_path(str(ROOT / "docs" / "explained.py"))
pytorch_code, torch_shapes = EXPLAINED["pytorch_code"], EXPLAINED["torch_shapes"]
LENGTH = 4
FIRST = "#SequenceClassifier-lstm-2-2-4-bidirectional_concat"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explained") / "page.html"
    path.write_text(EXPLAINED["page"](), encoding="utf-8")
    return path


class Opened:
    """The page in a window of that width, and what it said and asked for."""

    def __init__(
        self,
        browser: Browser,
        file: Path,
        anchor: str = "",
        width: int = 1000,
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

    def counts(self, text: str) -> int:
        """How often the picture says that."""
        return self.page.locator("figure svg").get_by_text(text, exact=True).count()


def test_every_choice_has_its_measured_picture(file: Path) -> None:
    html = file.read_text(encoding="utf-8")
    assert "h_n -&gt; bidirectional_concat: LSTM, 2 layers" in html  # before any script runs
    [packed] = re.findall(r'const packed = "(.*?)";', html)
    entries = json.loads(gzip.decompress(base64.b64decode(packed)))
    choices = [*product(CELLS, (1, 2, 3), (1, 2), (5, 4, 2))]
    for head in HEADS:
        shown = {name: entry for name, entry in entries.items() if name.endswith(f"-{head}")}
        drawings = {name.partition("-")[0] for name in shown}  # by what they predict
        names = {f"{'-'.join(map(str, c))}-{head}" for c in choices}
        assert drawings and {*shown} == {f"{n}-{name}" for n in drawings for name in names}
        for name, entry in shown.items():
            two = name.split("-")[3] == "2"
            if HEADS[head].requires_bidirectional not in (None, two) or "refused" in entry:
                assert re.search("needs a|must read in one direction", entry["refused"])
    for head, two in product(ALL_HEADS, (False, True)):
        found = [entries.get(f"{n}-lstm-2-{1 + two}-{LENGTH}-{head}", {}) for n in range(9)]
        pictures = [entry["picture"] for entry in found if "picture" in entry]
        if pictures:
            task = example_task("lstm", 2, two, head)
            drawn = to_svg(draw(task, trace(task, example_batch(task, LENGTH)), row=1))
            assert drawn in pictures


def test_it_shows_what_is_chosen(browser: Browser, file: Path) -> None:
    opened = Opened(browser, file)
    assert "h_n -> bidirectional_concat: LSTM, 2 layers, both" in opened.text("figure title")
    opened.choose(head="mean_pool", layers=3, directions=1, cell="gru", length=2)
    assert opened.text("figure title") == "output -> mean_pool: GRU, 3 layers, one direction"
    assert opened.counts("50 %") == 4  # cells and output
    assert "nn.GRU(F, H, num_layers=3, batch_first=True)" in opened.text("pre")
    assert opened.text("pre strong").strip() == "features = output.sum(dim=1) / lengths[:, None]"
    output, h_n = opened.page.locator("tbody tr").all_text_contents()
    assert output.startswith("output(B, T, H)") and output.endswith("feeds the head: 100\u00a0%")
    assert h_n.startswith("h_n(3, B, H)") and "feeds" not in h_n
    opened.choose(head="last_hidden", directions=2)
    assert "needs a one-directional encoder, because h_n[-1]" in opened.text("figure")
    assert not opened.page.locator("pre").is_visible()
    opened.choose(directions=1, cell="lstm")
    assert "c_n(3, B, H)" in opened.text("tbody")
    assert opened.said == [] and opened.requests == [file.as_uri()]


# of a task, directions and a head that it offers, one that it does not, and what its picture says
OFFERED = {
    "SequenceClassifier": (2, "mean_pool", "every_step", "logits"),
    "Tagger": (2, "every_step", "mean_pool", "y0"),
    "LanguageModel": (1, "softmax", "mean_pool", "p(x1)"),
    "Seq2Seq": (2, "attention", "mean_pool", "from layer 2"),
}


@pytest.mark.parametrize("task", [task for task in OFFERED if hasattr(tasks, task)])
def test_a_task_has_the_heads_that_fit_it(browser: Browser, file: Path, task: str) -> None:
    directions, head, other, said = OFFERED[task]
    opened = Opened(browser, file)
    opened.choose(task=task, directions=directions)
    offered = opened.page.locator("select[name=head] option:not([hidden])").all_text_contents()
    assert head in offered and other not in offered
    opened.choose(head=head)
    assert head in opened.text("figure title") and opened.counts(said) >= 1
    assert opened.said == []


def test_a_choice_has_an_address(browser: Browser, file: Path) -> None:
    opened = Opened(browser, file, "#SequenceClassifier-rnn-1-2-5-max_pool")
    assert opened.text("figure title") == "output -> max_pool: RNN, 1 layer, both directions"
    opened.choose(layers=3)
    assert opened.page.url.endswith("#SequenceClassifier-rnn-3-2-5-max_pool")
    assert Opened(browser, file, "#nonsense").page.url.endswith(FIRST)


EDGES = """selector => [...document.querySelectorAll(selector)]
  .filter(each => each.getClientRects().length)
  .map(each => each.getBoundingClientRect()).map(box => [box.left, box.right])"""


@pytest.mark.parametrize("anchor", [FIRST, "#Tagger-lstm-3-2-5-every_step"])
@pytest.mark.parametrize("width", [360, 640, 1200])  # 640: in a page of the site
def test_it_fits(browser: Browser, file: Path, width: int, anchor: str) -> None:
    opened = Opened(browser, file, anchor, width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    edges = opened.page.evaluate(EDGES, "figure svg text, pre span, td, select")
    assert len(edges) > 20 and all(left >= 0 and right <= width for left, right in edges)
    scrolled = "e => e.scrollWidth > e.clientWidth"
    assert not any(opened.page.locator(each).evaluate(scrolled) for each in ("figure", "pre"))


COLOURS = """() => {
  const style = selector => getComputedStyle(document.querySelector(selector));
  const fill = element => getComputedStyle(element).fill;
  const pairs = ["html", "select"].map(s => [style(s).backgroundColor, style(s).color]);
  pairs.push([style("svg > rect").fill, style("svg > text").fill]);
  for (const box of document.querySelectorAll("svg g rect")) {
    const text = box.nextElementSibling;
    if (text?.tagName === "text") pairs.push([fill(box), fill(text)]);
  }
  return pairs;
}"""


def lightness(colour: str) -> float:
    red, green, blue = (int(number) for number in re.findall(r"\d+", colour)[:3])
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_can_be_read_in_light_and_in_the_dark(
    browser: Browser, file: Path, scheme: Literal["light", "dark"]
) -> None:
    opened = Opened(browser, file, scheme=scheme)
    pairs = [[*map(lightness, pair)] for pair in opened.page.evaluate(COLOURS)]
    assert len(pairs) > 20
    for paper, _ in pairs[:3]:
        assert paper < 0.2 if scheme == "dark" else paper > 0.9
    assert all(abs(paper - ink) > 0.35 for paper, ink in pairs)


# ---------------------------------------------------------------- the code beside the picture


@pytest.mark.parametrize("cell", list(CELLS))
@with_directions(SELECTING_HEADS)
def test_the_code_that_is_shown_selects_what_the_head_selects(
    head: str, directions: int, cell: str
) -> None:
    task = example_task(cell, 2, directions == 2, head).eval()
    batch, rnn = example_batch(task, LENGTH), task.encoder.rnn
    names: dict[str, Any] = {
        **{"torch": torch, "nn": nn, "F": rnn.input_size, "H": rnn.hidden_size},
        **{name: getattr(nn.utils.rnn, name) for name in nn.utils.rnn.__all__},
        **{"inputs": task.embed(batch), "lengths": batch.lengths},
        **dict(task.head.named_children()),
    }
    setup, select = pytorch_code(task.head, task.encoder)
    first, *rest = setup.splitlines()
    exec(first, names)
    names["rnn"].load_state_dict(rnn.state_dict())
    exec("\n".join([*rest, select]), names)
    expected = task.head.select(task.encoder(task.embed(batch), batch.lengths))
    torch.testing.assert_close(names["features"], expected, atol=1e-6, rtol=1e-5)
    for name, shape in torch_shapes(task.encoder).items():
        assert tuple(names[name].shape) == eval(shape, {"B": 2, "T": 5, "H": names["H"]})


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


def test_a_head_and_a_cell_of_ones_own_are_shown_as_code_that_runs() -> None:
    class Forked(Head, name="forked"):
        reads = ("h_n",)

        def select(self, states: RNNOutput) -> Tensor:
            return states.h_n[-1, 0]

    class Own(Cell, nn.LSTMCell, name="own_lstm"):
        pass

    model = example_task("own_lstm", 2, False, "forked")
    setup, select = pytorch_code(model.head, model.encoder)
    assert select.endswith("return states.h_n[-1, 0]")
    names = {"SteppedRNN": SteppedRNN, "Own": Own, "F": 4, "H": 6}
    names |= {"inputs": torch.randn(3, 5, 4), "lengths": torch.tensor([5, 2, 1])}
    exec(setup, names)
    assert names["output"].shape == (3, 5, 6) and names["h_n"].shape == (2, 3, 6)
