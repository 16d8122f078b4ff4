"""The interactive page of the site, opened in a real browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, sync_playwright
from torch import nn

from seqmodels import tasks
from seqmodels.dataflow import trace
from seqmodels.dataflow.diagram import draw, to_svg
from seqmodels.dataflow.explain import example_batch
from seqmodels.heads import HEADS
from seqmodels.nn.cell import CELLS
from tests.conftest import ROOT
from tests.networks import example_task
from tests.shipped import SELECTING_HEADS, with_directions

EXPLAINED = runpy.run_path(str(ROOT / "docs" / "explained.py"))
pytorch_code, torch_shapes = EXPLAINED["pytorch_code"], EXPLAINED["torch_shapes"]
LENGTH = 4
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(CHROMIUMS)})")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explained") / "page.html"
    path.write_text(EXPLAINED["page"](), encoding="utf-8")
    return path


def test_every_choice_has_its_measured_picture(file: Path) -> None:
    html = file.read_text(encoding="utf-8")
    assert "h_n -&gt; bidirectional_concat: LSTM, 2 layers" in html  # before any script runs
    [packed] = re.findall(r'const packed = "(.*?)";', html)
    entries = json.loads(gzip.decompress(base64.b64decode(packed)))
    for head in HEADS:
        shown = {name: entry for name, entry in entries.items() if name.endswith(f"-{head}")}
        # each time of cells, 1 to 3 layers, 1 or 2 directions and 3 lengths
        assert shown and len(shown) % (len(CELLS) * 3 * 2 * 3) == 0
        for entry in shown.values():
            assert "picture" in entry or re.search("needs a|one direction", entry["refused"])
    for head in ("mean_pool", "bidirectional_concat"):
        task = example_task("lstm", 2, True, head)
        drawn = to_svg(draw(task, trace(task.network, example_batch(task, LENGTH)), row=1))
        assert entries[f"0-lstm-2-2-{LENGTH}-{head}"]["picture"] == drawn


def test_it_shows_what_is_chosen_and_has_an_address_for_it(browser: Browser, file: Path) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 800}, offline=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))

    def choose(**choice: Any) -> None:
        for name, value in choice.items():
            page.select_option(f"select[name={name}]", str(value))

    def text(selector: str) -> str:
        return page.locator(selector).text_content() or ""

    page.goto(f"{file.as_uri()}#SequenceClassifier-rnn-1-2-5-max_pool")
    page.wait_for_selector("html[data-ready]")
    assert text("figure title") == "output -> max_pool: RNN, 1 layer, both directions"
    choose(head="mean_pool", layers=3, directions=1, cell="gru", length=2)
    assert page.url.endswith("#SequenceClassifier-gru-3-1-2-mean_pool")
    assert text("figure title") == "output -> mean_pool: GRU, 3 layers, one direction"
    assert "nn.GRU(F, H, num_layers=3, batch_first=True)" in text("pre")
    assert text("pre strong").strip() == "features = output.sum(dim=1) / lengths[:, None]"
    output, h_n = page.locator("tbody tr").all_text_contents()
    assert output.startswith("output(B, T, H)") and output.endswith("feeds the head: 100\u00a0%")
    assert h_n.startswith("h_n(3, B, H)") and "feeds" not in h_n
    choose(head="last_hidden", directions=2)
    assert "needs a one-directional encoder, because h_n[-1]" in text("figure")
    if hasattr(tasks, "Tagger"):
        choose(task="Tagger")
        offered = page.locator("select[name=head] option:not([hidden])").all_text_contents()
        assert "every_step" in offered and "mean_pool" not in offered
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert said == []


# ---------------------------------------------------------------- the code beside the picture


@pytest.mark.parametrize("cell", list(CELLS))
@with_directions(SELECTING_HEADS)
def test_the_code_that_is_shown_selects_what_the_head_selects(
    head: str, directions: int, cell: str
) -> None:
    task = example_task(cell, 2, directions == 2, head).eval()
    batch, rnn = example_batch(task, LENGTH), task.network.encoder.rnn
    names: dict[str, Any] = {
        **{"torch": torch, "nn": nn, "F": rnn.input_size, "H": rnn.hidden_size},
        **{name: getattr(nn.utils.rnn, name) for name in nn.utils.rnn.__all__},
        **{"inputs": task.network.embed(batch), "lengths": batch.lengths},
        **dict(task.network.head.named_children()),
    }
    setup, select = pytorch_code(task.network.head, task.network.encoder)
    first, *rest = setup.splitlines()
    exec(first, names)
    names["rnn"].load_state_dict(rnn.state_dict())
    exec("\n".join([*rest, select]), names)
    expected = task.network.head.select(
        task.network.encoder(task.network.embed(batch), batch.lengths)
    )
    torch.testing.assert_close(names["features"], expected, atol=1e-6, rtol=1e-5)
    for name, shape in torch_shapes(task.network.encoder).items():
        assert tuple(names[name].shape) == eval(shape, {"B": 2, "T": 5, "H": names["H"]})
