"""The linter names each mistake at its line, and stays silent about the cure."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from seqmodels.errors import UserError
from seqmodels.lint import RULES, lint
from tests.conftest import ROOT

MODEL = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = {network}
        self.fc = nn.Linear(8, 2)

    def forward(self, x{arguments}):
{body}
"""
TWO = "nn.LSTM(4, 8, batch_first=True, bidirectional=True)"
ONE = "nn.LSTM(4, 8, batch_first=True)"
PACKED = """
packed = pack_padded_sequence(x, lengths, batch_first=True)
output, (h_n, c_n) = self.rnn(packed)
output, _ = pad_packed_sequence(output, batch_first=True)
"""


def model(network: str, body: str, arguments: str = "") -> str:
    inside = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
    return MODEL.format(network=network, body=inside, arguments=arguments)


CHOSEN = f"""{TWO}
        if kind == "gru":
            self.rnn = nn.GRU(4, 8, batch_first=True, bidirectional=True)"""
LAYERS = "nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))"

WRONG = [
    ("RNN001", model(TWO, "output, _ = self.rnn(x)\nreturn self.fc(output[:, -1, :])  # here")),
    ("RNN001", model(TWO, "return self.fc(self.rnn(x)[0])[:, -1]  # here")),
    (
        "RNN001",
        model("nn.GRU(4, 8, bidirectional=True)", "y, h = self.rnn(x)\nreturn y[-1]  # here"),
    ),
    ("RNN001", model(TWO, "y, _ = self.rnn(x)\nreturn y[..., -1, :]  # here")),
    ("RNN001", model(TWO, "y, _ = self.rnn(x)\nreturn y[:, -1:].squeeze(1)  # here")),
    (
        "RNN002",
        model(ONE, "y, _ = self.rnn(x)\nreturn y.index_select(0, order)[:, -1]  # here")
        + "tokenizer = Tokenizer(pad_token_id=0)\n",
    ),
    (
        "RNN002",
        model(ONE, "return self.rnn(x)[0][:, -1]  # here") + "words = {'<PAD>': 0, '<UNK>': 1}\n",
    ),
    ("RNN001", model(CHOSEN, "output, state = self.rnn(x)\nreturn output[:, -1]  # here")),
    (
        "RNN001",
        model(TWO, "y, _ = self.rnn(x)\nreturn self.fc(y)[:, -1]  # here").replace(
            "nn.Linear(8, 2)", LAYERS
        ),
    ),
    (
        "RNN001",
        model(
            TWO,
            """
            y, _ = self.rnn(x)
            if self.pool:
                y = y.mean(1)
            else:
                y = y[:, -1]  # here
            return self.fc(y)
            """,
        ),
    ),
    ("RNN001", model(TWO, "y, _ = self.rnn(x)\nreturn y.permute(0, 2, 1)[:, :, -1]  # here")),
    (
        "RNN001",
        "from torch.nn import LSTM as Network\ndef build(size):\n"
        + textwrap.indent(
            model("Network(4, 8, bidirectional=True)", "y, _ = self.rnn(x)\nreturn y[-1]  # here"),
            "    ",
        ),
    ),
    ("RNN002", model(ONE, f"{PACKED}\nreturn output[:, -1]  # here", ", lengths")),
    ("RNN002", model(ONE, "y = self.rnn(x)[0]\nreturn y[:, -1]  # here", ", seq_lens")),
    (
        "RNN002",
        model(
            ONE,
            """
            if sizes is not None:
                x = nn.utils.rnn.pack_padded_sequence(x, sizes, batch_first=True)
            y, _ = self.rnn(x)
            if sizes is not None:
                y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
            return y[:, -1]  # here
            """,
            ", sizes=None",
        ),
    ),
    (
        "RNN003",
        "from torch.nn.utils.rnn import pad_packed_sequence as unpack\n"
        + model(
            ONE,
            """
            y, sizes = unpack(self.rnn(packed)[0], batch_first=True)
            return torch.log_softmax(self.fc(y), axis=1)  # here
            """,
            ", packed",
        ),
    ),
    (
        "RNN003",
        model(
            ONE,
            """
            y = torch.transpose(self.rnn(x)[0], 1, 2)
            return F.max_pool1d(y, kernel_size=y.shape[2])  # here
            """,
            ", lengths",
        ),
    ),
    (
        "RNN003",
        model(
            ONE,
            "y, _ = self.rnn(x)\nreturn self.fc(y).squeeze(-1).softmax(dim=-1)  # here",
            ", lengths",
        ),
    ),
    ("RNN003", model(TWO, f"{PACKED}\nreturn output.mean(dim=1)  # here", ", lengths")),
    (
        "RNN003",
        model(
            ONE,
            """
            y, h = self.rnn(x)
            scores = torch.bmm(torch.tanh(y @ self.weight), h[0][-1].unsqueeze(2)).squeeze(2)
            return F.softmax(scores, 1)  # here
            """,
            ", lengths",
        ),
    ),
    (
        "RNN003",
        model(ONE, "y, _ = self.rnn(x)\nreturn torch.max(self.fc(y), 1)[0]  # here", ", lengths"),
    ),
    (
        "RNN003",
        model(
            ONE,
            "y, _ = self.rnn(x)\nw = F.softmax(self.fc(y).squeeze(-1), dim=1)  # here\nreturn w",
            ", lengths",
        ),
    ),
    ("RNN004", model(TWO, "_, (h, c) = self.rnn(x)\nreturn h.view(x.size(0), -1)  # here")),
    (
        "RNN004",
        model("nn.GRU(4, 8, 2)", "_, h = self.rnn(x)\nreturn h.reshape(-1, 16)  # here"),
    ),
    (
        "RNN004",
        model(
            TWO, "_, (h, c) = self.rnn(x)\nreturn h.view(1, 2, -1, 8)[-1].view(len(x), -1)  # here"
        ),
    ),
    (
        "RNN005",
        model(
            "nn.LSTM(4, 8, num_layers=layers, bidirectional=True)",
            "_, (h, c) = self.rnn(x)\nreturn h[: self.num_layers]  # here",
        ),
    ),
    ("RNN006", model(TWO, "_, hidden = self.rnn(x)\nreturn self.fc(hidden[0][-1])  # here")),
    ("RNN006", model(TWO, "_, (h, c) = self.rnn(x)\nh = h[-1]  # here\nreturn h + self.fc(x[0])")),
    (
        "RNN007",
        model(ONE, "back = torch.flip(x, [1])\nreturn self.rnn(back)[0]  # here", ", lengths"),
    ),
    (
        "RNN007",
        model(ONE, "return self.rnn(x.flip(dims=(1,)))[0]  # here", ", lengths"),
    ),
    (
        "RNN008",
        model("nn.GRU(4, 8)", "out, _ = self.rnn(x)\nreturn self.fc(out[:, -1, :])  # here"),
    ),
    ("RNN008", model(ONE, "out, _ = self.rnn(x)\nreturn self.fc(out[-1])  # here")),
    (
        "RNN009",
        """
for x, y in loader:
    out, hidden = model(x, hidden)  # here
    loss = criterion(out, y)
    loss.backward()
""",
    ),
    (
        "RNN009",
        """
while True:
    with autocast():
        out, h, c = model(x, h, c)  # here
    criterion(out, y).backward(retain_graph=True)
""",
    ),
    (
        "RNN009",
        """
for x, y in loader:
    out, (h, c) = model(x, state=(h, c))  # here
    criterion(out, y).backward()
    with torch.no_grad():
        out, state = model(x, state)
""",
    ),
    ("RNN010", model(ONE, "return self.rnn(x, (h, h))[0]  # here", ", h")),
    ("RNN010", model(ONE, "return self.rnn(x, (hidden, hidden))[0]  # here", ", hidden")),
    (
        "RNN011",
        model(TWO, "return self.fc(self.rnn(x)[0])")
        + """
inputs, targets = tokens[:, :-1], tokens[:, 1:]  # here
loss = nn.CrossEntropyLoss()(model(inputs).flatten(0, 1), targets.flatten())
""",
    ),
    (
        "RNN011",
        model(TWO, "return self.fc(self.rnn(x)[0])")
        + """
loss = F.cross_entropy(model(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())  # here
""",
    ),
]
RIGHT = [
    model(TWO, "_, (h, c) = self.rnn(x)\nreturn torch.cat([h[-2], h[-1]], dim=1)"),
    model(TWO, "_, (h, c) = self.rnn(x)\nreturn torch.cat([h[0, :, :], h[-1, :, :]], dim=1)"),
    model(TWO, "y, _ = self.rnn(x)\nreturn torch.cat([y[:, -1, :8], y[:, 0, 8:]], dim=1)"),
    model(TWO, "_, (h, c) = self.rnn(x)\nh = h.transpose(0, 1)\nreturn h.reshape(len(x), -1)"),
    model(TWO, "_, (h, c) = self.rnn(x)\nreturn h.view(2, 2, -1, 8)[-1]"),
    model(ONE, "y, _ = self.rnn(x)\nreturn y[:, -1]"),  # rows of one length
    model(ONE, "_, h = self.rnn(x)\nreturn h[0][-1]", ", lengths"),
    model(ONE, f"{PACKED}\nreturn output[torch.arange(len(x)), lengths - 1]", ", lengths"),
    model(ONE, f"{PACKED}\nreturn output.sum(1) / lengths.unsqueeze(1)", ", lengths"),
    model(ONE, "y, _ = self.rnn(x)\nreturn (y * mask).sum(1) / mask.sum(1)", ", lengths, mask"),
    model(ONE, "y, _ = self.rnn(x)\nreturn y.mean(dim=2)", ", lengths"),
    model(ONE, "y, _ = self.rnn(x)\nreturn (y.mT @ x).transpose(1, 2).mean(1)", ", lengths"),
    model(ONE, "y, _ = self.rnn(x)\ny = y.transpose(1, 2) @ x\nreturn y.mean(2)", ", lengths"),
    model(ONE, "_, (h, c) = self.rnn(x)\nreturn h.view(x.size(0), -1)"),  # one layer
    model("nn.GRU(4, 8)", "y, _ = self.rnn(x)\ny = y.transpose(0, 1)\nreturn y[:, -1]"),
    model("nn.GRU(4, 8)", "y, _ = self.rnn(x.permute(1, 0, 2))\nreturn y[-1]"),
    model(ONE, "h = torch.zeros(1, 2, 8)\nreturn self.rnn(x, (h, h))[0]"),
    model(
        ONE,
        """
        if state is None:
            state = torch.zeros(1, len(x), 8).to(x.device)
        return self.rnn(x, (state, state))[0]
        """,
        ", state=None",
    ),
    model(ONE, "return self.rnn(torch.flip(x, [1]))[0]"),
    model(ONE, "return self.rnn(torch.flip(x, [2]))[0] + self.rnn(x.flip(0))[0]", ", lengths"),
    """
for x, y in loader:
    hidden = tuple(part.detach() for part in hidden)
    out, hidden = model(x, hidden)
    criterion(out, y).backward()
for step in range(9):
    out, hidden = model(x, hidden)
criterion(out, y).backward()
""",
    model(ONE, "return self.fc(self.rnn(x)[0])")
    + "loss = F.cross_entropy(model(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())\n",
    """
for x, y in loader:
    out, hidden = model(x, hidden)
    criterion(out, y).backward()
    for part in hidden:
        part.detach_()
""",
    model(ONE, "y, (h, c) = self.rnn(x, state)\nreturn y, (h.detach(), c.detach())", ", state")
    + """
for x, y in loader:
    out, hidden = model(x, hidden)
    criterion(out, y).backward()
""",
    """
for x, y in loader:
    out, state = model(x, [part.detach() for part in state])
    criterion(out, y).backward()
""",
    """
for x, y in loader:
    x, y = mix(x, y)
    images, labels = augment(images, labels)
    criterion(model(x), y).backward()
""",
    """
for x, y in loader:
    with torch.inference_mode():
        action, hidden = policy(x, hidden)
    learn(action).backward()
for x, y in loader:
    with autocast():
        for step in x:
            out, hidden = model(step, hidden)
    criterion(out, y).backward()
""",
    """
class Policy:
    @torch.no_grad()
    def act(self, x, hidden):
        return self.rnn(x, hidden)
for x, y in loader:
    action, hidden = policy.act(x, hidden)
    learn(action).backward()
""",
    f"""
rnn = {TWO}
loss = F.cross_entropy(model(x, y[:, :-1]).flatten(0, 1), y[:, 1:].flatten())
loss = loss + (x[:, 1:] - x[:, :-1]).abs().mean() + F.mse_loss(x[:, :-1], x[:, 1:])
""",
    model(f"{TWO}\n        self.decoder = nn.LSTMCell(4, 8)", "return self.rnn(x)[0]")
    + "loss = F.cross_entropy(model(x, y[:, :-1]).flatten(0, 1), y[:, 1:].flatten())\n",
    "from keras.layers import LSTM\n"
    + model("LSTM(8, bidirectional=True)", "y, _ = self.rnn(x)\nreturn y[-1]"),
    model(ONE, "y, _ = self.rnn(x)\nreturn y[:, -1]", ", lengths")
    + "rows = pad_sequences(rows, maxlen=9)\n",
    model(ONE, "y, _ = self.rnn(x)\nreturn y[:, -1]", ", lengths")
    + 'tokenizer.padding_side = "left"\n',
    model(ONE, "y, _ = self.rnn(x)\nreturn y[:, -1]", ", lengths").replace("forward", "generate"),
    model(ONE, "y, _ = self.rnn(x)\nreturn y[..., -1] + y[()] + x[..., -1, :]", ", lengths"),
    "() = model(x)\n",
    model(TWO, f"{PACKED}\noutput[output == 0] = -1e9\nreturn output.max(1)[0]", ", lengths"),
    model(ONE, "y = self.rnn(x)[0]\nreturn F.max_pool1d(y.transpose(1, 2), 2)", ", lengths"),
    model(TWO, "x = self.fc(x).unsqueeze(1)\ny, _ = self.rnn(x)\nreturn y[:, -1]"),
    model(TWO, "y, _ = self.rnn(torch.unsqueeze(x, 1))\nreturn y[:, -1]"),
    model(
        ONE,
        """
        y, _ = self.rnn(x)
        if first:
            y = y.transpose(0, 1)
        else:
            y = self.fc(y)
        return y[-1]
        """,
    ),
    model("nn.LSTM(4, 8, bidirectional=two)", "y, _ = self.rnn(x)\nreturn y[-1]"),
    model(TWO, "y, _ = self.rnn(x)\nreturn y[:, -1]  # noqa: RNN001"),
    "class LSTM: pass\nclass M:\n    def f(self, y):\n        return y[:, -1]\n",
]


@pytest.mark.parametrize(("code", "source"), WRONG, ids=[code for code, _ in WRONG])
def test_a_mistake_is_named_at_its_line(code: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(source)
    expected = [n for n, line in enumerate(source.split("\n"), 1) if line.endswith("# here")]
    found = lint(tmp_path / "model.py")
    assert [(mistake.line, mistake.code) for mistake in found] == [(n, code) for n in expected]
    silenced = source.replace("# here", f"# noqa: E501, {code}")
    (tmp_path / "model.py").write_text(silenced)
    assert lint(tmp_path / "model.py") == []


@pytest.mark.parametrize("source", RIGHT)
def test_nothing_is_said_of_what_is_right(source: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(source)
    assert lint(tmp_path / "model.py") == []


def test_the_cure_of_padding_is_not_h_n_that_went_through_it(tmp_path: Path) -> None:
    source = model(ONE, "y = self.rnn(x)[0]\nreturn y[:, -1]", ", lengths")
    (tmp_path / "model.py").write_text(source)
    (found,) = lint(tmp_path / "model.py")
    assert found.text.endswith("take output at each row's length - 1, or h_n of packed rows")


def test_every_rule_has_its_wrong_example() -> None:
    assert {code for code, _ in WRONG} == RULES.keys()
    assert [code for code, *_ in SHOWN] == [*RULES]


SHOWN = re.findall(
    r"^\| `(RNN\d+)` \| `([^`]+)`.*\| `([^`]+)` \|$",
    (ROOT / "docs" / "audit.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
BODY = "output, (h_n, c_n) = self.rnn(inputs)\nreturn {}"
LOSS = "loss = F.cross_entropy(model(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())\n"


@pytest.mark.parametrize(("code", "wrong", "right"), SHOWN, ids=[code for code, *_ in SHOWN])
def test_the_page_shows_a_wrong_and_a_right_example(
    code: str, wrong: str, right: str, tmp_path: Path
) -> None:
    for shown, expected in ((wrong, {code}), (right, set())):
        if code == "RNN009":
            source = f"for x, y in loader:\n    {shown}\n    criterion(output, y).backward()\n"
        elif shown.startswith("nn."):
            source = model(shown, BODY.format("output[:, -1]" if code == "RNN008" else "output"))
            source += LOSS
        else:
            two = code in ("RNN001", "RNN004", "RNN005", "RNN006")
            network = TWO.replace("bi", "num_layers=2, bi") if two else ONE
            body = BODY.format(shown.replace("rnn(", "self.rnn("))
            source = model(network, body, ", inputs, lengths, h, c")
        (tmp_path / "model.py").write_text(source)
        assert {mistake.code for mistake in lint(tmp_path / "model.py")} == expected


def test_a_file_that_is_not_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def f(:\n")
    with pytest.raises(UserError, match=r"model\.py:1 is not Python"):
        lint(tmp_path / "model.py")
    (tmp_path / "model.py").write_text("x = y" + ".f()" * 900)
    with pytest.raises(UserError, match=r"model\.py cannot be read"):
        lint(tmp_path / "model.py")


def test_the_command_needs_no_torch_and_tells_by_its_exit_status(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "model.py").write_text(WRONG[0][1])
    command = "import sys; sys.modules['torch'] = None; from seqmodels.__main__ import main; main()"

    def run(path: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", command, "lint", path]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("package")
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.startswith(f"{Path('package', 'model.py')}:10: RNN001 the last step of two")
    (tmp_path / "package" / "model.py").write_text(RIGHT[0])
    assert (run("package").returncode, run("package").stdout) == (0, "")
    missing = run("nothing.py")
    assert missing.returncode == 2 and missing.stderr.startswith("error: nothing.py does not exist")
    without = subprocess.run(
        [sys.executable, "-c", command, "lint"], capture_output=True, text=True, check=False
    )
    assert without.returncode == 2 and len(without.stderr.splitlines()) == 1
    assert without.stderr.startswith("error: name Python files, or folders of them")
