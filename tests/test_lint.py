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

    def forward(self, x, h, state{arguments}):
{body}
"""
TWO = "nn.LSTM(4, 8, batch_first=True, bidirectional=True)"
ONE = "nn.LSTM(4, 8, batch_first=True)"
TIME_FIRST = "nn.GRU(4, 8)"
TIME_FIRST_TWO = "nn.GRU(4, 8, bidirectional=True)"
EITHER = f"""{TWO}
        if kind == "gru":
            self.rnn = nn.GRU(4, 8, batch_first=True, bidirectional=True)"""
Y = "y, _ = self.rnn(x); "
H = "_, (h, c) = self.rnn(x); "
UNPACKED = """
packed = pack_padded_sequence(x, lengths, batch_first=True)
y, (h, c) = self.rnn(packed)
y, _ = pad_packed_sequence(y, batch_first=True)
"""


def model(network: str, body: str, *arguments: str) -> str:
    inside = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
    return MODEL.format(
        network=network, body=inside, arguments="".join(f", {a}" for a in arguments)
    )


def padded(network: str, body: str) -> str:
    return model(network, body, "lengths")


def loop(*statements: str, backward: str = "criterion(out, y).backward()") -> str:
    """Over batches, each of which is learned from."""
    return (
        "for x, y in loader:\n" + textwrap.indent("\n".join((*statements, backward)), "    ") + "\n"
    )


LOSS = "loss = F.cross_entropy(model(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())"
LAST = padded(ONE, f"{Y}return y[:, -1]")
# of each rule, code with one mistake: in the last line, or the one that says it is here
WRONG = {
    "RNN001": [
        model(TWO, f"{Y}return self.fc(y[:, -1, :])"),
        model(TWO, "return self.fc(self.rnn(x)[0])[:, -1]"),
        model(TIME_FIRST_TWO, f"{Y}return y[-1]"),
        model(TWO, f"{Y}return y[..., -1, :]"),
        model(TWO, f"{Y}return y[:, -1:].squeeze(1)"),
        model(TWO, f"{Y}return y.permute(0, 2, 1)[:, :, -1]"),
        model(EITHER, f"{Y}return y[:, -1]"),
        model(TWO, f"{Y}return self.fc(y)[:, -1]").replace(
            "nn.Linear(8, 2)", "nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))"
        ),
        model(
            TWO, f"{Y}\nif self.pool: y = y.mean(1)\nelse: y = y[:, -1]  # here\nreturn self.fc(y)"
        ),
        "from torch.nn import LSTM as Network\ndef build(size):"
        + textwrap.indent(model("Network(4, 8, bidirectional=True)", f"{Y}return y[-1]"), "    "),
    ],
    "RNN002": [
        model(ONE, f"{Y}return y.index_select(0, order)[:, -1]  # here")
        + "t = T(pad_token_id=0)\n",
        model(ONE, "return self.rnn(x)[0][:, -1]  # here") + "words = {'<PAD>': 0, '<UNK>': 1}\n",
        padded(ONE, f"{UNPACKED}\nreturn y[:, -1]"),
        model(ONE, f"{Y}return y[:, -1]", "seq_lens"),
        model(
            ONE,
            """
            if sizes is not None: x = nn.utils.rnn.pack_padded_sequence(x, sizes, batch_first=True)
            y, _ = self.rnn(x)
            if sizes is not None: y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
            return y[:, -1]
            """,
            "sizes=None",
        ),
    ],
    "RNN003": [
        "from torch.nn.utils.rnn import pad_packed_sequence as unpack\n"
        + model(
            ONE,
            "y, n = unpack(self.rnn(x)[0], batch_first=True); return self.fc(y).softmax(axis=1)",
        ),
        padded(
            ONE, "y = transpose(self.rnn(x)[0], 1, 2); return max_pool1d(y, kernel_size=y.size(2))"
        ),
        padded(ONE, f"{Y}return self.fc(y).squeeze(-1).softmax(dim=-1)"),
        padded(TWO, f"{UNPACKED}\nreturn y.mean(dim=1)"),
        padded(ONE, f"{Y}return torch.max(self.fc(y), 1)[0]"),
        padded(
            ONE,
            """
            y, h = self.rnn(x)
            scores = torch.bmm(torch.tanh(y @ self.weight), h[0][-1].unsqueeze(2)).squeeze(2)
            return F.softmax(scores, 1)
            """,
        ),
    ],
    "RNN004": [
        model(TWO, f"{H}return h.view(x.size(0), -1)"),
        model("nn.GRU(4, 8, 2)", "_, h = self.rnn(x); return h.reshape(-1, 16)"),
        model(TWO, f"{H}return h.view(1, 2, -1, 8)[-1].view(len(x), -1)"),
    ],
    "RNN005": [
        model("nn.LSTM(4, 8, num_layers=n, bidirectional=True)", f"{H}return h[: self.num_layers]"),
    ],
    "RNN006": [
        model(TWO, "_, hidden = self.rnn(x); return self.fc(hidden[0][-1])"),
        model(TWO, f"{H}h = h[-1]; return h + self.fc(x[0])"),
    ],
    "RNN007": [
        padded(ONE, "back = torch.flip(x, [1]); return self.rnn(back)[0]"),
        padded(ONE, "return self.rnn(x.flip(dims=(1,)))[0]"),
    ],
    "RNN008": [
        model(TIME_FIRST, f"{Y}return self.fc(y[:, -1, :])"),
        model(ONE, f"{Y}return self.fc(y[-1])"),
    ],
    "RNN009": [
        loop("out, hidden = model(x, hidden)  # here", "loss = criterion(out, y)"),
        loop(
            "with autocast():\n    out, h, c = model(x, h, c)  # here",
            backward="criterion(out, y).backward(retain_graph=True)",
        ).replace("for x, y in loader", "while True"),
        loop("out, (h, c) = model(x, state=(h, c))  # here")
        + "    with torch.no_grad():\n        out, state = model(x, state)\n",
    ],
    "RNN010": [
        model(ONE, "return self.rnn(x, (h, h))[0]"),
        model(ONE, "return self.rnn(x, (hidden, hidden))[0]", "hidden"),
    ],
    "RNN011": [
        model(TWO, "return self.fc(self.rnn(x)[0])")
        + "inputs, targets = tokens[:, :-1], tokens[:, 1:]  # here\n"
        "loss = nn.CrossEntropyLoss()(model(inputs).flatten(0, 1), targets.flatten())\n",
        model(TWO, "return self.fc(self.rnn(x)[0])") + f"{LOSS}  # here\n",
    ],
}
CASES = [(code, source) for code, sources in WRONG.items() for source in sources]
RIGHT = [
    model(TWO, f"{H}return torch.cat([h[-2], h[-1]], dim=1)"),
    model(TWO, f"{H}return torch.cat([h[0, :, :], h[-1, :, :]], dim=1)"),
    model(TWO, f"{Y}return torch.cat([y[:, -1, :8], y[:, 0, 8:]], dim=1)"),
    model(TWO, f"{H}h = h.transpose(0, 1); return h.reshape(len(x), -1)"),
    model(TWO, f"{H}return h.view(2, 2, -1, 8)[-1]"),
    model(ONE, f"{H}return h.view(x.size(0), -1)"),  # one layer
    model(ONE, f"{Y}return y[:, -1]"),  # rows of one length
    model(TWO, f"{Y}return y[:, -1]  # noqa: RNN001"),
    model(TIME_FIRST, f"{Y}y = y.transpose(0, 1); return y[:, -1]"),
    model(TIME_FIRST, "y, _ = self.rnn(x.permute(1, 0, 2)); return y[-1]"),
    model("nn.LSTM(4, 8, bidirectional=two)", f"{Y}return y[-1]"),
    # one column, of which the first is the last
    model(TWO, "x = self.fc(x).unsqueeze(1); y, _ = self.rnn(x); return y[:, -1]"),
    model(TWO, "y, _ = self.rnn(torch.unsqueeze(x, 1)); return y[:, -1]"),
    padded(ONE, "_, h = self.rnn(x); return h[0][-1]"),
    padded(ONE, f"{UNPACKED}\nreturn y[torch.arange(len(x)), lengths - 1]"),
    padded(ONE, f"{UNPACKED}\nreturn y.sum(1) / lengths.unsqueeze(1)"),
    padded(TWO, f"{UNPACKED}\ny[y == 0] = -1e9\nreturn y.max(1)[0]"),
    model(ONE, f"{Y}return (y * mask).sum(1) / mask.sum(1)", "lengths", "mask"),
    padded(ONE, f"{Y}return y.mean(dim=2)"),
    padded(ONE, f"{Y}return (y.mT @ x).transpose(1, 2).mean(1)"),
    padded(ONE, f"{Y}y = y.transpose(1, 2) @ x; return y.mean(2)"),
    padded(ONE, "y = self.rnn(x)[0]; return F.max_pool1d(y.transpose(1, 2), 2)"),
    padded(ONE, f"{Y}return y[..., -1] + y[()] + x[..., -1, :]"),
    # padded on the left, or generating
    LAST + "rows = pad_sequences(rows, maxlen=9)\n",
    LAST + 'tokenizer.padding_side = "left"\n',
    LAST.replace("forward", "generate"),
    # flipped, but not padded steps
    model(ONE, "return self.rnn(torch.flip(x, [1]))[0]"),
    padded(ONE, "return self.rnn(torch.flip(x, [2]))[0] + self.rnn(x.flip(0))[0]"),
    # zeros for both h and c
    model(ONE, "h = torch.zeros(1, 2, 8); return self.rnn(x, (h, h))[0]"),
    model(
        ONE,
        """
        if state is None: state = torch.zeros(1, len(x), 8).to(x.device)
        return self.rnn(x, (state, state))[0]
        """,
    ),
    # the file does not say which
    model(ONE, f"{Y}\nif first: y = y.transpose(0, 1)\nelse: y = self.fc(y)\nreturn y[-1]"),
    # not of PyTorch
    "from keras.layers import LSTM\n" + model("LSTM(8, bidirectional=True)", f"{Y}return y[-1]"),
    "class LSTM: pass\nclass M:\n    def f(self, y):\n        return y[:, -1]\n",
    "() = model(x)\n",
    # a state that is detached, or carried without a graph
    loop("hidden = tuple(part.detach() for part in hidden)", "out, hidden = model(x, hidden)")
    + "for step in range(9):\n    out, hidden = model(x, hidden)\ncriterion(out, y).backward()\n",
    loop("out, hidden = model(x, hidden)") + "    for part in hidden:\n        part.detach_()\n",
    model(ONE, "y, (h, c) = self.rnn(x, state); return y, (h.detach(), c.detach())")
    + loop("out, hidden = model(x, hidden)"),
    loop("out, state = model(x, [part.detach() for part in state])"),
    loop("x, y = mix(x, y); images, labels = augment(images, labels); out = model(x)"),
    loop("with torch.inference_mode():\n    out, hidden = policy(x, hidden)"),
    loop("with autocast():\n    for step in x:\n        out, hidden = model(step, hidden)"),
    "class Policy:\n    @torch.no_grad()\n    def act(self, x, h): return self.rnn(x, h)\n"
    + loop("out, hidden = policy.act(x, hidden)"),
    # next tokens of one direction, or of a decoder
    model(ONE, "return self.fc(self.rnn(x)[0])") + f"{LOSS}\n",
    model(f"{TWO}\n        self.decoder = nn.LSTMCell(4, 8)", "return self.rnn(x)[0]")
    + f"{LOSS}\n",
    f"""
rnn = {TWO}
loss = F.cross_entropy(model(x, y[:, :-1]).flatten(0, 1), y[:, 1:].flatten())
loss = loss + (x[:, 1:] - x[:, :-1]).abs().mean() + F.mse_loss(x[:, :-1], x[:, 1:])
""",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.py"


@pytest.mark.parametrize(("code", "source"), CASES, ids=[code for code, _ in CASES])
def test_a_mistake_is_named_at_its_line_or_silenced_there(
    code: str, source: str, file: Path
) -> None:
    lines = source.rstrip().split("\n")
    here = next((n for n, line in enumerate(lines) if line.endswith("# here")), len(lines) - 1)
    for words, expected in (
        ("", [(here + 1, code)]),
        ("# noqa: E501, RNN999", [(here + 1, code)]),
        (f"# noqa: E501, {code}", []),
        ("# noqa", []),
    ):
        changed = [
            *lines[:here],
            f"{lines[here].removesuffix('# here')}  {words}",
            *lines[here + 1 :],
        ]
        file.write_text("\n".join(changed) + "\n")
        assert [(mistake.line, mistake.code) for mistake in lint(file)] == expected


@pytest.mark.parametrize("source", RIGHT)
def test_nothing_is_said_of_what_is_right(source: str, file: Path) -> None:
    file.write_text(source)
    assert lint(file) == []


def test_the_cure_of_padding_is_not_h_n_that_went_through_it(file: Path) -> None:
    file.write_text(LAST)
    [found] = lint(file)
    assert found.text.endswith("take output at each row's length - 1, or h_n of packed rows")


SHOWN = re.findall(
    r"^\| `(RNN\d+)` \| `([^`]+)`.*\| `([^`]+)` \|$",
    (ROOT / "docs" / "audit.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
BODY = "output, (h_n, c_n) = self.rnn(inputs)\nreturn {}"


def test_every_rule_has_its_examples() -> None:
    assert [*WRONG] == [*RULES] == [code for code, *_ in SHOWN]


@pytest.mark.parametrize(("code", "wrong", "right"), SHOWN, ids=[code for code, *_ in SHOWN])
def test_the_page_shows_a_wrong_and_a_right_example(
    code: str, wrong: str, right: str, file: Path
) -> None:
    for shown, expected in ((wrong, {code}), (right, set())):
        if code == "RNN009":
            source = f"for x, y in loader:\n    {shown}\n    criterion(output, y).backward()\n"
        elif shown.startswith("nn."):
            source = model(shown, BODY.format("output[:, -1]" if code == "RNN008" else "output"))
            source += f"{LOSS}\n"
        else:
            two = code in ("RNN001", "RNN004", "RNN005", "RNN006")
            network = TWO.replace("bi", "num_layers=2, bi") if two else ONE
            body = BODY.format(shown.replace("rnn(", "self.rnn("))
            source = model(network, body, "inputs", "lengths", "c")
        file.write_text(source)
        assert {mistake.code for mistake in lint(file)} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("def f(:\n", r"model\.py:1 is not Python"), ("x = y" + ".f()" * 900, "cannot be read")],
)
def test_a_file_that_is_not_python_is_named(text: str, message: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        lint(file)


def test_the_command_needs_no_torch_and_tells_by_its_exit_status(file: Path) -> None:
    command = "import sys; sys.modules['torch'] = None; from seqmodels.__main__ import main; main()"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        words = (sys.executable, "-c", command, "lint", *words)
        return subprocess.run(words, cwd=file.parent, capture_output=True, text=True, check=False)

    file.write_text(WRONG["RNN001"][0])
    found = run(".")
    assert (found.returncode, found.stderr) == (1, "")
    assert found.stdout.startswith("model.py:9: RNN001 the last step of two")
    file.write_text(RIGHT[0])
    assert (run(".").returncode, run(".").stdout) == (0, "")
    for words, message in (
        (["nothing.py"], "nothing.py does not exist"),
        ([], "name Python files"),
    ):
        refused = run(*words)
        assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
        assert refused.stderr.startswith(f"error: {message}")
