"""The linter names each mistake in its plain form, and passes whatever the audit passes."""

from __future__ import annotations

import cProfile
import pstats
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels.audit import audit
from seqmodels.errors import UserError
from seqmodels.lint import lint
from seqmodels.mistakes import MISTAKES_BY_RULE
from tests.conftest import ROOT, Script
from tests.pages import python_blocks, read

IMPORTS = """\
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
"""
MODEL = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = {network}
        self.fc = nn.Linear(8, 2)
        self.both = nn.Linear(16, 2)
        self.score = nn.Linear(8, 1)

    def forward(self, x{arguments}):
{body}
"""
TWO = "nn.LSTM(4, 8, batch_first=True, bidirectional=True)"
TWO_LAYERS = "nn.LSTM(4, 8, 2, batch_first=True, bidirectional=True)"
ONE = "nn.LSTM(4, 8, batch_first=True)"
TIME_FIRST = "nn.GRU(4, 8)"
UNPACKED = """\
packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
y, (h, c) = self.rnn(packed)
y, n = pad_packed_sequence(y, batch_first=True)
"""


def model(network: str, body: str, arguments: str = "") -> str:
    """A file with a network; `body` may be just what it returns of `y`, `h` and `c`."""
    if "return" not in body:
        body = f"y, (h, c) = self.rnn(x)\nreturn {body}"
    arguments = f", {arguments}" if arguments else ""
    body = textwrap.indent(body, " " * 8)
    return IMPORTS + MODEL.format(network=network, body=body, arguments=arguments)


def padded(network: str, body: str) -> str:
    return model(network, body, "lengths")


# Of each rule, code with the mistake in its last line, or in the one that says it is here.
WRONG = {
    "RNN001": [
        model(TWO, "self.both(y[:, -1])"),
        model(TWO, "self.both(y[:, -1, :])"),
        model(TWO, "y, state = self.rnn(x)\nlast = y[:, -1]  # here\nreturn self.both(last)"),
        model(TWO, "x, _ = self.rnn(x)\nx = x[:, -1]  # here\nreturn self.both(x)"),
        model(TWO, "h = torch.zeros(2, len(x), 8)\ny, _ = self.rnn(x, (h, h))\nreturn y[:, -1]"),
        model(TWO, "with torch.no_grad():\n    y, _ = self.rnn(x)\nreturn y[:, -1]"),
        model(TWO, "return (y := self.rnn(x)[0])[:, -1]"),
        model("nn.LSTM(4, 8, bidirectional=True)", "y[-1]"),
        model("nn.GRU(4, 8, bidirectional=True)", "return self.rnn(x)[0].transpose(0, 1)[:, -1]"),
        f"{IMPORTS}rnn = {TWO}\ndef read(x):\n    return rnn(x)[0][:, -1]\n",
        f"import torch.nn as layers\nrnn = {TWO.replace('nn.', 'layers.')}.to('cpu')\n"
        "def read(x):\n    return rnn(x)[0][:, -1]\n",
        f"from torch.nn import LSTM\nrnn = {TWO.replace('nn.', '')}\n"
        "def read(x):\n    return rnn(x)[0][:, -1]\n",
    ],
    "RNN002": [
        padded(ONE, "y[:, -1]"),
        padded(ONE, f"{UNPACKED}return self.fc(y[:, -1])"),
        model(ONE, "x, lengths = batch\ny, _ = self.rnn(x)\nreturn y[:, -1]", "batch"),
    ],
    "RNN003": [
        padded(ONE, "y.mean(1)"),
        padded(ONE, "torch.mean(y, dim=1)"),
        padded(ONE, "y.sum(dim=1)"),
        padded(ONE, "y.max(1)[0]"),
        padded(TIME_FIRST, "y, h = self.rnn(x)\nreturn y.amax(0)"),
        padded(TWO, f"{UNPACKED}return self.both(y.mean(1))"),
        padded(
            ONE,
            "y, _ = self.rnn(x)\nw = F.softmax(self.score(y), dim=1)  # here\n"
            "return (w * y).sum(1)",
        ),
    ],
    "RNN004": [
        model(TWO, "h.reshape(len(x), -1)"),
        model(TWO, "c.view(x.size(0), -1)"),
        model(TWO, "rows = x.shape[0]\n_, (h, c) = self.rnn(x)\nreturn h.view(rows, 16)"),
        model("nn.LSTM(4, 8, 2, batch_first=True)", "h.reshape(y.size(0), -1)"),
    ],
    "RNN005": [model(TWO_LAYERS, "h[:2].mean(0)")],
    "RNN006": [
        model(TWO, "self.fc(h[-1])"),
        model(TWO, "return self.fc(self.rnn(x)[1][0][-1])"),
        model(TWO, "h[0]"),
        model("nn.GRU(4, 8, bidirectional=True)", "_, h = self.rnn(x)\nreturn h[-1]"),
        model("nn.LSTM(4, 8, n, bidirectional=True)", "h[-1]"),
        model("nn.LSTM(4, 8, 2)", "h[0]"),
    ],
    "RNN007": [
        padded(ONE, "return self.rnn(x.flip(1))[0]"),
        padded(ONE, "y, _ = self.rnn(torch.flip(x, [1]))  # here\nreturn y[r, lengths - 1]"),
    ],
    "RNN008": [
        model(TIME_FIRST, "y, h = self.rnn(x)\nreturn self.fc(y[:, -1, :])"),
        padded(ONE, "self.fc(y[-1])"),
    ],
    "RNN011": [
        model(TWO_LAYERS, "torch.cat([h[2], h[1]], dim=1)"),
        model(TWO_LAYERS, "torch.cat([h[0], h[-1]], dim=1)"),
    ],
}
CASES = [(code, source) for code, sources in WRONG.items() for source in sources]

MASK = "mask = torch.arange(x.shape[1]) < lengths[:, None]\n"
RUN = "y, (h, c) = self.rnn(x)\n"
LAST = "torch.arange(len(x)), lengths - 1"
# Right code that the audit runs: a network, and what `forward(self, x, lengths)` does with it.
AUDITED = [
    (ONE, f"{RUN}return y[{LAST}]"),
    (ONE, f"{MASK}{RUN}y *= mask[..., None]\nreturn y.sum(1) / lengths[:, None]"),
    (ONE, f"{MASK}{RUN}y += (~mask)[..., None] * -1e9\nreturn y.amax(1)"),
    (ONE, f"{MASK}{RUN}y[~mask] = 0\nreturn y.sum(1) / lengths[:, None]"),
    (ONE, f"{MASK}{RUN}y.masked_fill_(~mask[..., None], -1e9)\nreturn y.amax(1)"),
    (ONE, f"{MASK}{RUN}y = y.where(mask[..., None], y.new_tensor(-9.0))\nreturn y.max(1)[0]"),
    (ONE, f"{MASK}{RUN}z = y.transpose(1, 2)\nz.mul_(mask[:, None])\nreturn y.sum(1)"),
    (ONE, f"{MASK}{RUN}for i in range(len(x)):\n    y[i, lengths[i]:] = 0\nreturn y.sum(1)"),
    (ONE, f"{UNPACKED}return h[-1]"),
    (ONE, f"{UNPACKED}return self.fc(y.sum(1) / lengths[:, None])"),
    (ONE, f"{UNPACKED}return y.sum(1)"),
    (ONE, f"{UNPACKED}return y.mean(1) * y.shape[1] / n[:, None]"),
    (ONE, f"{UNPACKED}return y.relu().amax(1)"),
    (ONE, f"{UNPACKED}y = F.relu(y)\nreturn y.max(dim=1).values"),
    (ONE, f"{UNPACKED}return torch.stack([row[:k].mean(0) for row, k in zip(y, n)])"),
    (ONE, f"{UNPACKED}return torch.cat([y[i, n[i] - 1][None] for i in range(len(y))])"),
    (
        ONE,
        f"{UNPACKED.replace('batch_first=True)', 'batch_first=True, padding_value=-9.0)')}"
        "return y.amax(1)",
    ),
    (
        ONE,
        f"{MASK}{RUN}w = self.score(y).squeeze(-1).masked_fill(~mask, -1e9).softmax(1)\n"
        "return (w[..., None] * y).sum(1)",
    ),
    (
        ONE,
        f"{MASK}{RUN}w = self.score(y).squeeze(-1).softmax(1) * mask\n"
        "w = w / w.sum(1, keepdim=True)\nreturn (w[..., None] * y).sum(1)",
    ),
    (ONE, f"{RUN}i = (lengths - 1).view(-1, 1, 1).expand(-1, 1, 8)\nreturn y.gather(1, i)[:, 0]"),
    (
        ONE,
        "rows = [self.rnn(row[:k][None])[0][:, -1] for row, k in zip(x, lengths)]\n"
        "return torch.cat(rows)",
    ),
    (
        ONE,
        "rows = []\nfor i in range(len(x)):\n    y, _ = self.rnn(x[i, :lengths[i]])\n"
        "    rows.append(y[-1])\nreturn torch.stack(rows)",
    ),
    (
        ONE,
        "rows = pad_sequence([r[:k].flip(0) for r, k in zip(x, lengths)], batch_first=True)\n"
        "h = self.rnn(rows)[0]\nreturn h[torch.arange(len(h)), lengths - 1]",
    ),
    (TIME_FIRST, f"y, h = self.rnn(x.transpose(0, 1))\ny = y.transpose(0, 1)\nreturn y[{LAST}]"),
    (TIME_FIRST, "y, h = self.rnn(x.permute(1, 0, 2))\nreturn y[lengths - 1, range(len(x))]"),
    (TWO, f"{UNPACKED}return torch.cat([h[-2], h[-1]], dim=1)"),
    (TWO, f"{UNPACKED}return torch.cat([h[0], h[1]], dim=1)"),
    (TWO, f"{UNPACKED}return h[0] + h[-1]"),
    (TWO, f"{UNPACKED}return h.sum(0)"),
    (TWO, f"{UNPACKED}return torch.cat(tuple(h), 1)"),
    (TWO, f"{UNPACKED}ahead, back = h\nreturn ahead + back"),
    (TWO, f"{UNPACKED}ahead, back = h.unbind(0)\nreturn ahead * back"),
    (TWO, f"{UNPACKED}return torch.cat([s for s in h], 1)"),
    (TWO, f"{UNPACKED}return h.transpose(0, 1).reshape(len(x), -1)"),
    (TWO, f"{UNPACKED}return h.permute(1, 0, 2).flatten(1)"),
    (TWO, f"{UNPACKED}return torch.cat([h[-1], y.sum(1)], 1)"),
    (TWO, f"{UNPACKED}return h[-2] + c[-1]"),
    (TWO, f"{UNPACKED}return torch.cat([y[{LAST}][:, :8], y[:, 0, 8:]], 1)"),
    (TWO, f"{UNPACKED}return h.view(2, len(x), 8).mean(0)"),
    (TWO, f"{UNPACKED}back = h[-1]\nreturn back + h[-2]"),
    (TWO_LAYERS, f"{UNPACKED}return torch.cat([h[2], h[3]], 1)"),
    (TWO_LAYERS, f"{UNPACKED}h = h.view(2, 2, len(x), 8)[-1]\nreturn torch.cat([h[0], h[1]], 1)"),
    (TWO_LAYERS, f"{UNPACKED}return torch.cat([h[:2], h[2:]], 2).mean(0)"),
    (TWO_LAYERS, f"{UNPACKED}return torch.cat([h[0::2][-1], h[1::2][-1]], 1)"),
    (TWO_LAYERS, f"{UNPACKED}return torch.cat([*h[-2:]], 1)"),
    ("nn.LSTM(4, 8, 2, batch_first=True)", f"{UNPACKED}return h[-1]"),
    ("nn.LSTM(4, 8, 2, batch_first=True)", f"{UNPACKED}return torch.cat([h[1], h[0]], 1)"),
]
# Rows of one length: what the audit runs without padding.
OF_ONE_LENGTH = [
    (ONE, f"{RUN}return y[:, -1]"),
    (ONE, f"{RUN}return y.mean(1)"),
    (ONE, f"{RUN}return h.view(len(x), -1)"),
    (ONE, "z = x[:, 0].repeat(1, 2)[None]\nreturn self.rnn(x, (z, z))[0][:, -1]"),
    (TWO, "a, b = x[:, :-1], x[:, 1:]\ny, _ = self.rnn(b - a)\nreturn y.mean(1)"),
    (TWO, f"{RUN}return torch.cat([y[:, -1, :8], y[:, 0, 8:]], 1)"),
    (
        TWO,
        f"{RUN}ahead, _ = y[:, -1].chunk(2, 1)\n_, back = y[:, 0].chunk(2, 1)\nreturn ahead + back",
    ),
    (TWO, f"{RUN}last, first = y[:, -1], y[:, 0]\nreturn last[:, :8] + first[:, 8:]"),
    (TWO, f"{RUN}return torch.cat([h[-1], y.mean(1)], 1)"),
    (TWO, f"{RUN}return torch.cat([y[:, -1], y.mean(1)], 1)"),
    (TWO, "y, (h, c) = self.rnn(x)\nif len(x) > 99:\n    y = h\nreturn y.mean(1)"),
    (TWO_LAYERS, f"{RUN}return h.view(4, -1).norm(dim=1).sum() * 0 + h[-1] + h[-2]"),
    (ONE, "return self.rnn(torch.flip(x, [1]))[0][:, -1]"),
    (TIME_FIRST, "y, _ = self.rnn(x.transpose(0, 1))\nreturn y[-1]"),
]
# Code that may be right, by what the linter doesn't see.
UNSURE = [
    model(TWO, "return self.rnn(x, (features, features))[0]", "features"),
    model(ONE, "return self.rnn(x, (z, z))[0]", "z"),
    model(TWO, "self.fc(y)") + "loss = F.cross_entropy(p, t) + smooth(p[:, :-1], p[:, 1:])\n",
    model(TWO, "y, (h, c) = self.rnn(x)\nself.last = h\nreturn h[-1]"),
    model("nn.LSTM(4, 8, batch_first=True, bidirectional=two)", "y[:, -1]"),
    model("nn.LSTM(4, 8, **options)", "y[:, -1]"),
    model(f"{ONE} if one else {TWO}", "y[:, -1]"),
    model(f"{ONE}\n        self.rnn = {TWO}", "y[:, -1]"),
    model(TWO, "y, _ = self.rnn(x[:, t].unsqueeze(1))\nreturn y[:, -1]"),
    model(TWO, "y, _ = self.rnn(self.embed(x).view(1, 1, -1))\nreturn y[:, -1]"),
    model(TWO, "if m:\n    y = self.rnn(x)[0]\nelse:\n    y = self.fc(x)\nreturn y[:, -1]"),
    model(TWO, "y, _ = self.rnn(x)\ndef half():\n    return y[:, 0]\nreturn y[:, -1], half()"),
    model(TWO, "def half():\n    return y[:, 0]\ny, _ = self.rnn(x)\nreturn y[:, -1], half()"),
    model(TWO, "y[:, -1]")
    + "class Other(Model):\n    def __init__(self):\n        self.rnn = own\n",
    model(TWO, "y[:, -1]") + "model.rnn = nn.LSTM(4, 8)\n",
    model(TWO, "y, (h, c) = self.rnn(x)\nprint(y[:, -1])\nreturn y"),
    "import paddle.nn as nn\n" + model(TWO, "y[:, -1]").partition("\n\n")[2],
    "from .torch.layers import LSTM\n"
    + model("LSTM(4, 8, batch_first=True, bidirectional=True)", "y[:, -1]"),
    model(ONE, "y[-1]"),
    padded(ONE, "y, state = self.rnn(x, state)\nreturn y[:, -1], state"),
    padded(ONE, "if lengths is None:\n    return self.rnn(x)[0][:, -1]\nreturn x"),
    padded(ONE, "y[:, -1]") + "rows = tokenizer(rows, padding_side='left')\n",
    model(ONE, "y[:, -1] * keep", "lengths, keep"),
    model(ONE, "return self.rnn(x.flip(1))[0]") + "pad_token_id = 0\n",
]
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
# What is wrong on purpose in the code of a page.
ON_PURPOSE = {
    "README.md": ["RNN001 return classify(output[:, -1])"],
    "docs/audit.md": ["RNN006 return classify(h_n[-1])"],
    "docs/why_does_my_lstm_depend_on_the_batch.md": [
        "RNN001 return self.classify(output[:, -1])",
    ],
}


def findings_in(source: str, file: Path) -> list[tuple[int, str]]:
    file.write_text(source)
    return [(finding.line, finding.code) for finding in lint(file)]


def built(source: str) -> Any:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(compile(source, "model.py", "exec"), names)
    return names["Model"]()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.py"


@pytest.mark.parametrize(("code", "source"), CASES, ids=[code for code, _ in CASES])
def test_a_mistake_is_named_at_its_line_or_silenced_there(
    code: str, source: str, file: Path
) -> None:
    lines = source.rstrip().split("\n")
    marked = [number for number, line in enumerate(lines) if line.endswith("# here")]
    [number] = marked or [len(lines) - 1]
    assert findings_in(source, file) == [(number + 1, code)]
    line = lines[number].partition("  #")[0]
    for comment in (f"noqa: E501, {code}", "NOQA", f"NoQA:{code.lower()}", f"NOQA : {code} E501"):
        lines[number] = f"{line}  # {comment}"
        assert findings_in("\n".join(lines), file) == []
    for comment in ("noqa: E501, RNN999", "no qa"):
        lines[number] = f"{line}  # {comment}"
        assert findings_in("\n".join(lines), file) == [(number + 1, code)]


@pytest.mark.parametrize(("network", "body"), AUDITED)
def test_what_the_audit_passes_the_linter_passes(network: str, body: str, file: Path) -> None:
    source = padded(network, body)
    found = audit(built(source), torch.randn(4, 20, 4), lengths=[20, 15, 9, 3])
    assert found.names == []
    assert findings_in(source, file) == []


@pytest.mark.parametrize(("network", "body"), OF_ONE_LENGTH)
def test_what_the_audit_passes_without_padding_the_linter_passes(
    network: str, body: str, file: Path
) -> None:
    source = model(network, body)
    network_to_run = built(source)
    found = audit(lambda x, lengths: network_to_run(x), torch.randn(4, 20, 4), padding="none")
    assert found.names == []
    assert findings_in(source, file) == []


@pytest.mark.parametrize("source", UNSURE)
def test_nothing_is_said_of_what_is_not_sure(source: str, file: Path) -> None:
    assert findings_in(source, file) == []


def test_nothing_is_said_of_the_models_by_which_the_audit_is_tested() -> None:
    assert lint(ROOT / "tests" / "audit" / "bank.py") == []


def test_every_rule_has_cases() -> None:
    assert {*WRONG} == {*MISTAKES_BY_RULE}


PARTS = {
    "tuples": "a{0}, b{0} = g(x{0}), h(y{0})\n",
    "calls of a network": "y{0}, _ = rnn(x)\nz{0} = y{0}[:, -1]\n",
    "branches": "if a{0}:\n    y = rnn(x)[0]\nelse:\n    y = f(y)\n",
    "functions": "def f{0}(x, lengths):\n    return rnn(x)[0].mean(1)\n",
}


@pytest.mark.parametrize("part", [*PARTS.values()], ids=[*PARTS])
def test_its_work_grows_as_the_file_does(part: str, file: Path) -> None:
    counts = [calls_for("".join(part.format(i) for i in range(n)), file) for n in (50, 200)]
    assert counts[1] < 5 * counts[0]


@pytest.mark.parametrize("link", [".select(0, 0)", "[:, -1]", ".foo(1)", " / 2"])
def test_its_work_grows_as_a_chain_does(link: str, file: Path) -> None:
    counts = [calls_for(f"y = rnn(x)[0]{link * n}\n", file) for n in (20, 80)]
    assert counts[1] < 5 * counts[0]


def calls_for(code: str, file: Path) -> int:
    """How many functions the linter calls to read a file: unlike its seconds, always the same."""
    file.write_text(f"from torch import nn\nrnn = {TWO}\n{code}")
    profile = cProfile.Profile()
    profile.runcall(lint, file)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_is_wrong_on_purpose_alone(page: str, file: Path) -> None:
    blocks = python_blocks(read(ROOT / page))
    whole, *alone = (
        [f"{rule} {code.splitlines()[line - 1].strip()}" for line, rule in findings_in(code, file)]
        for code in ("\n".join(blocks), *blocks)
    )
    assert {line for lines in alone for line in lines} == {*ON_PURPOSE.get(page, [])}
    assert {*whole} <= {*ON_PURPOSE.get(page, [])}


def test_a_file_that_is_not_python_is_named(file: Path) -> None:
    with pytest.raises(UserError, match=r"model\.py:1 is not Python"):
        findings_in("def f(:\n", file)


def test_the_command_needs_no_torch_and_tells_by_its_exit_status(file: Path) -> None:
    command = "import sys; sys.modules['torch'] = None; from seqmodels.__main__ import main; main()"

    def run(*words: str) -> tuple[int, str, str]:
        words = (sys.executable, "-c", command, "lint", *words)
        done = subprocess.run(words, cwd=file.parent, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    file.write_text(model(TWO, "self.fc(y[:, -1, :])"))
    status, shown, errors = run(".")
    assert (status, errors) == (1, "")
    first, last = shown.splitlines()
    said = "RNN001 truncated_direction: the last step of two directions: "
    assert first.startswith(f"model.py:16: {said}")
    assert last == "1 file, 1 finding"
    file.write_text(model(TWO, "y[:, -1]  # noqa"))
    (file.parent / "other.py").write_text("")
    assert run(".") == (0, "2 files, 0 findings\n", "")
    status, shown, errors = run("nothing.py")
    assert status == 2 and re.fullmatch("error: nothing.py does not exist: .*\n", errors)


def test_options_by_position_are_read(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    network = "        self.rnn = nn.{}(10, 20, 1, {}True, True, 0.0{})\n"
    rest = (
        "    def forward(self, x):\n        output, _ = self.rnn(x)\n        return output[:, -1]\n"
    )
    head = "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
    for cell, more, two, codes in (
        ("LSTM", "", "", []),
        ("LSTM", "", ", True", ["RNN001"]),
        ("RNN", "'tanh', ", "", []),
        ("RNN", "'tanh', ", ", True", ["RNN001"]),
    ):
        file.write_text(head + network.format(cell, more, two) + rest)
        assert [mistake.code for mistake in lint(file)] == codes, (cell, two)


def test_a_file_that_is_not_python_hides_no_mistakes_of_others(
    script: Script, tmp_path: Path
) -> None:
    mistake = "from torch import nn\n" + model(TWO, "y[:, -1]")
    for name, text in (("aa.py", "print 'x'\n"), ("bom.py", "\ufeffx = 1\n"), ("mm.py", mistake)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = script("lint.py", ".", status=2)
    first, last = done.stdout.splitlines()
    assert "mm.py" in first and last == "2 files, 1 finding"
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ") and "aa.py:1 is not Python" in line


def test_a_form_feed_moves_no_line(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("'\f'\nfrom torch import nn\n" + model(TWO, "y[:, -1]"))
    [mistake] = lint(file)
    lines = file.read_text().split("\n")
    lines[mistake.line - 1] += f"  # noqa: {mistake.code}"
    file.write_text("\n".join(lines))
    assert not lint(file)
