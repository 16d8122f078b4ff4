"""The linter names each mistake at its line, and stays silent about the cure."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from seqmodels.errors import UserError
from seqmodels.lint import lint
from seqmodels.mistakes import MISTAKES_BY_RULE
from tests.conftest import ROOT, Script
from tests.pages import python_blocks, read

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
UNPACKED = """\
y, (h, c) = self.rnn(pack_padded_sequence(x, lengths, batch_first=True))
y, _ = pad_packed_sequence(y, batch_first=True)
"""


def model(network: str, body: str, arguments: str = "") -> str:
    """A module with that network; `body` may be just what it returns of `y`, `h` and `c`."""
    if "return" not in body:
        body = f"y, (h, c) = self.rnn(x); return {body}"
    arguments = f", {arguments}" if arguments else ""
    return MODEL.format(network=network, body=textwrap.indent(body, " " * 8), arguments=arguments)


def with_defaults(read: str, two: bool = True, layers: int = 2, forward: str = "") -> str:
    """A module whose network has options that are arguments with defaults."""
    return f"""
class Model(nn.Module):
    def __init__(self, size, num_layers={layers}, first=True, two={two}):
        super().__init__()
        self.two, self.fc = two, nn.Linear(8 * (2 if two else 1), 2)
        self.num_directions = 2 if two else 1
        self.num_layers = num_layers
        if two:
            self.norm = nn.LayerNorm(16)
        self.rnn = nn.LSTM(
            size, 8, self.num_layers, batch_first=first, dropout=0.1 if num_layers > 1 else 0,
            bidirectional=two
        )

    def forward(self, x):
{textwrap.indent(forward, " " * 8)}
        return {read}
"""


def padded(network: str, body: str) -> str:
    return model(network, body, "lengths")


def filled(padding_value: str) -> str:
    return UNPACKED.replace("(y, batch_first=True)", f"(y, True, padding_value={padding_value})")


LOSS = "loss = F.cross_entropy(model(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())"
LAST = padded(ONE, "y[:, -1]")
SCORES = """\
y, h = self.rnn(x)
scores = torch.bmm(torch.tanh(y @ self.weight), h[0][-1].unsqueeze(2)).squeeze(2)
return F.softmax(scores, 1)"""
UNPACK = "from torch.nn.utils.rnn import pad_packed_sequence as unpack\n"
# of each rule, code with one mistake: in the last line, or the one that says it is here
WRONG = {
    "RNN001": [
        # of time first, turned in one of many ways
        *(
            model("nn.LSTM(4, 8, bidirectional=True)", f"y = {turned}; return y[:, -1]")
            for turned in (
                "self.rnn(x)[0].permute((1, 0, 2))",
                "torch.permute(self.rnn(x)[0], (1, 0, 2))",
                "torch.permute(self.rnn(x)[0], dims=[1, 0, 2])",
                "self.rnn(x)[0].permute(1, 0, -1)",
                "self.rnn(x)[0].transpose(1, -3)",
                "self.rnn(x)[0].transpose(dim0=0, dim1=1)",
                "self.rnn(x)[0].swapaxes(-2, -3)",
            )
        ),
        model(TWO, "y.select(1, -1)"),
        model(TWO, "y, _ = self.rnn(x[0]); return y[:, -1]"),
        # half of what a layer makes of both halves
        model(TWO, "y, _ = self.rnn(x); z = self.fc(y[:, -1]); return z[:, :1]"),
        # of a network around the function: of the file, of a function, of a class that it is of
        f"rnn = {TWO}\nfc = nn.Linear(8, 2)\n"
        "def read(x):\n    y, _ = rnn(x)\n    return fc(y[:, -1])\n",
        f"def train(x):\n    rnn = {TWO}.to(x.device)\n    rnn = rnn.train()\n"
        "    def step(x):\n        return rnn(x)[0][:, -1]\n",
        f"rnn = {TWO}\nread = lambda x: rnn(x)[0][:, -1]\n",
        model(TWO, "y").replace("class Model", "class Base")
        + "class Model(Base):\n    def last(self, x):\n        return self.rnn(x)[0][:, -1]\n",
        # and of options that a constant or a default says
        "def build(x, two=True, *, first=True):\n"
        "    rnn = nn.LSTM(4, 8, batch_first=first, bidirectional=two)\n"
        "    return rnn(x)[0][:, -1]\n",
        with_defaults("self.fc(self.rnn(x)[0][:, -1])"),
        with_defaults("self.rnn(x)[0][:, -1]", forward="width = 16 if self.two else 8"),
        "import torch.nn as layers\nTWO = True\n"
        "rnn = layers.GRU(4, 8, 1, True, True, 0.0, TWO)\ny = rnn(x)[0][:, -1]\n",
        model(TWO, "self.fc(y[:, -1, :])"),
        model("nn.GRU(4, 8, bidirectional=True)", "y[-1]"),
        model(TWO, "y[..., -1, :]"),
        model(TWO, "self.fc(y)[:, -1]").replace("nn.Linear(8, 2)", "nn.Sequential(nn.ReLU())"),
        model(TWO, "y = self.rnn(x)[0]\nif m:\n    y = y.mean(1)\n    return y\nreturn y[:, -1]"),
        model(TWO, "y = self.rnn(x)[0]\nif m: y = y.mean(1)\nelse: y = y[:, -1]  # here\nreturn y"),
    ],
    "RNN002": [
        # of a state that begins here, in whatever loop
        padded(ONE, "h = torch.zeros(1, n, 8); y, h = self.rnn(x, h); return y[:, -1]"),
        padded(ONE, "h = self.init_hidden(x); y, h = self.rnn(x, h); return y[:, -1]"),
        padded(ONE, "y, h = self.rnn(x, h0); return y[:, -1], h"),
        padded(
            ONE,
            "for x in loader:\n    h = torch.zeros(1, n, 8)\n    y, h = self.rnn(x, h)\n"
            "    s.append(y[:, -1])  # here\nreturn s",
        ),
        padded(ONE, "y, _ = self.rnn(x, state); return y[:, -1]"),
        padded(ONE, "y, _ = self.rnn(x)\nif lengths is None: x = 2\nreturn y[:, -1]"),
        padded(ONE, "y, _ = self.rnn(x)\nif lengths is not None: y = y[:, -1]  # here\nreturn y"),
        padded(ONE, f"{filled('-1e9')}return y[:, -1]"),
        padded(TWO, f"{UNPACKED}return y[:, -1][:, :8]"),
        model(ONE, "y.index_select(0, order)[:, -1]  # here") + "t = T(pad_token_id=0)\n",
        padded(ONE, f"{UNPACKED}return y[:, -1]"),
        model(ONE, "y[:, -1]", "seq_lens"),
    ],
    "RNN003": [
        # a running mean, read at the last column, and a running sum, divided by columns or lengths
        *(
            padded(network, f"y, _ = self.rnn(x)\n{body}")
            for network in (ONE, TWO)
            for body in (
                "steps = torch.arange(1, y.size(1) + 1)\nr = y.cumsum(1) / steps[:, None]\n"
                "return self.fc(r[:, -1])",
                "return (y.cumsum(dim=1) / torch.arange(1, 9).view(1, -1, 1))[:, -1, :]",
                "r = torch.cumsum(y, dim=-2).div(torch.arange(1, 9).unsqueeze(1))\nreturn r[:, -1]",
                "return torch.cumsum(y, 1)[:, -1] / lengths.unsqueeze(1)",
                "return self.fc(y).cumsum(1).select(1, -1)",
            )
        ),
        padded("nn.RNN(4, 8)", "y, h = self.rnn(x)\nreturn y.cumsum(0)[-1] / lengths"),
        padded(
            TWO,
            f"{UNPACKED}r = y.cumsum(1) / torch.arange(1, 9).view(1, -1, 1)\nreturn r[:, -1]",
        ),
        # zeros at padding, but divided by all columns
        *(
            padded(TWO, f"{UNPACKED}{body}")
            for body in (
                "return y.sum(1) / y.shape[1]",
                "return torch.sum(y, dim=1) / y.size(1)",
                "time = y.size(-2); return y.sum(1) / time",
            )
        ),
        # filled with what the pool counts
        *(padded(TWO, f"{filled(value)}return y.max(1)[0]") for value in ("0.0", "1", "-0.5")),
        padded(TWO, f"{filled('-1e9')}return y.mean(1)"),
        padded(TWO, f"{UNPACKED}return self.fc(y).sum(1)"),
        # divided by the lengths, but not zero at padding
        padded(ONE, "y, _ = self.rnn(x); return y.sum(1) / lengths"),
        padded(ONE, "y, _ = self.rnn(x); return y.mean((1,)) * 9 / lengths"),
        UNPACK + model(ONE, f"{UNPACKED.replace('pad_packed_sequence', 'unpack')}return y.mean(1)"),
        padded(ONE, "self.fc(y).softmax(axis=1)"),
        padded(ONE, "max_pool1d(transpose(y, 1, 2), kernel_size=y.size(2))"),
        padded(ONE, "torch.max(self.fc(y), 1)[0]"),
        padded(ONE, "y.transpose(-1, -2).mean(2)"),
        # zero after their ends in one case alone
        padded(
            ONE,
            f"if a:\n{textwrap.indent(UNPACKED, '  ')}else:\n  y, _ = self.rnn(x)\nreturn y.sum(1)",
        ),
        padded(ONE, SCORES),
    ],
    "RNN004": [
        model(TWO, "h.reshape((len(x), -1))"),
        model(TWO, "torch.reshape(h, (len(x), 16))"),
        model(TWO, "h.view(-1, 16)"),
        model(TWO, "h.view(-1, 2 * self.hidden_size)"),
        model(TWO, "h.view(x.size(0), -1)"),
        model(TWO, "h.view(1, 2, -1, 8)[-1].view(len(x), -1)"),
        # two layers by default
        with_defaults("self.rnn(x)[1][0].view(len(x), -1)", two=False),
    ],
    "RNN005": [
        model("nn.LSTM(4, 8, num_layers=n, bidirectional=True)", "h[: self.num_layers]"),
        # one layer by default, and more for whoever asks
        with_defaults("self.rnn(x)[1][0][: self.num_layers]", layers=1),
    ],
    "RNN006": [
        model(TWO, "self.fc(h[-1:])"),
        model(TWO, "y, (h, c) = self.rnn(x); print(h.shape, len(h)); return self.fc(h[-1])"),
        model(TWO, "y, (h, c) = self.rnn(x); h = F.dropout(h).contiguous(); return h[-1]"),
        model(TWO, "_, hidden = self.rnn(x); return self.fc(hidden[0][-1])"),
    ],
    "RNN007": [
        padded(ONE, "return self.rnn(torch.fliplr(x))[0]"),
        padded(ONE, "return self.rnn(torch.flip(x, dims=(-2,)))[0]"),
        padded(ONE, "back = torch.flip(x, [1]); return self.rnn(back)[0]"),
    ],
    "RNN008": [model(TIME_FIRST, "self.fc(y[:, -1, :])"), model(ONE, "self.fc(y[-1])")],
    "RNN011": [
        *(
            model(f"{cell}(4, 8, {options}, bidirectional=True)", body)
            for cell, options, states in (
                ("nn.LSTM", "num_layers=2", "y, (h, c)"),
                ("nn.GRU", "2", "y, h"),
                ("nn.RNN", "num_layers=3", "y, h"),
                # whatever the number of layers is
                ("nn.LSTM", "num_layers=n", "y, (h, c)"),
            )
            for body in (
                f"{states} = self.rnn(x); return torch.cat([h[2], h[1]], dim=1)",
                f"{states} = self.rnn(x); return torch.cat((h[-2], h[-3]), 1)",
                f"{states} = self.rnn(x); return torch.concat([h[0, :, :], h[3, :, :]], dim=-1)",
                f"{states} = self.rnn(x); ahead = h[2].clone(); back = h[1]\n"
                "return self.fc(torch.cat([ahead, back], 1))",
            )
        ),
        # counted from both ends
        model("nn.LSTM(4, 8, 2, bidirectional=True)", "torch.cat([h[0], h[-1]], dim=1)"),
        model("nn.LSTM(4, 8, 2, bidirectional=True)", "torch.hstack([c[-2], F.dropout(c[1])])"),
        model(
            "nn.GRU(4, 8, 2, bidirectional=True)",
            "_, h = self.rnn(x)\na, b, d, e = h\nreturn torch.cat([d, b], 1)",
        ),
    ],
    "RNN009": [
        model(ONE, "return self.rnn(x, hx=(h, h))[0]"),
        model(ONE, "_, (h, c) = self.rnn(x); return self.rnn(x, (h, h))[0]"),
        model(ONE, "return self.rnn(x, (h, h))[0]"),
    ],
    "RNN010": [
        model(TWO, "self.fc(y)")
        + "inputs, targets = tokens[:, :-1], tokens[:, 1:]  # here\n"
        + "loss = nn.CrossEntropyLoss()(model(inputs).flatten(0, 1), targets.flatten())\n",
        model(TWO, "self.fc(y)") + f"{LOSS}  # here\n",
    ],
}
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
# what is wrong on purpose in the code of a page
ON_PURPOSE = {
    "README.md": ["RNN001 return classify(output[:, -1])"],
    "docs/audit.md": ["RNN006 return classify(h_n[-1])"],
    "docs/why_does_my_lstm_depend_on_the_batch.md": [
        "RNN001 return self.classify(output[:, -1])",
        "RNN004 return self.classify(self.rnn(packed)[1][0].reshape(len(inputs), -1))",
    ],
}
CASES = [(code, source) for code, sources in WRONG.items() for source in sources]
TURNED = "y = self.rnn(x)[0]\nif first: y = y.transpose(0, 1)\nelse: y = self.fc(y)\nreturn y[-1]"
RIGHT = [
    model(TWO, "torch.cat([h[-2], h[-1]], dim=1)"),
    model(TWO, "_, (h, c) = self.rnn(x); h = h.transpose(0, 1); return h.reshape(len(x), -1)"),
    model(ONE, "h.view(x.size(0), -1)"),  # one layer
    model(ONE, "y[:, -1]"),  # rows of one length
    model(TIME_FIRST, "y, _ = self.rnn(x); y = y.transpose(0, 1); return y[:, -1]"),
    model("nn.LSTM(4, 8, bidirectional=two)", "y[-1]"),
    # one column, of which the first is the last
    model(TWO, "x = self.fc(x).unsqueeze(1); y, _ = self.rnn(x); return y[:, -1]"),
    padded(ONE, "_, h = self.rnn(x); return h[0][-1]"),
    padded(ONE, f"{UNPACKED}return y[torch.arange(len(x)), lengths - 1]"),
    padded(ONE, f"{UNPACKED}return y.sum(1) / lengths.unsqueeze(1)"),
    padded(TWO, f"{UNPACKED}y[y == 0] = -1e9\nreturn y.max(1)[0]"),
    model(ONE, "(y * mask).sum(1) / mask.sum(1)", "lengths, mask"),
    model(ONE, "self.fc(y).squeeze(-1).softmax(1) * mask", "lengths, mask"),
    # a row, by its number; both directions of one layer; all layers, of which there is one
    model(ONE, "y[-1, 0]"),
    model(TWO, "torch.cat([h[0], h[-1]], dim=1)"),
    model(TWO, "h[: self.num_layers]"),
    # both directions of one layer, one direction of two, layers of one direction; all states
    *(
        model(f"nn.LSTM(4, 8, 2, bidirectional={two})", f"torch.cat([{joined}], dim=1)")
        for two, joined in (
            *((True, "h[2], h[3]"), (True, "h[-2], h[-1]"), (True, "h[-1], h[2]")),
            *((True, "h[0], h[2]"), (True, "h[0], h[1], h[2], h[3]"), (True, "h[1], h[0]")),
            *((True, "self.fc(h[2]), self.fc(h[1])"), (True, "h[2], y[:, 0]")),
            *((False, "h[1], h[0]"), (False, "h[-1], h[-2]"), ("two", "h[2], h[1]")),
        )
    ),
    model("nn.LSTM(4, 8, num_layers=4)", "torch.cat([h[2], h[1]], dim=1)"),
    model("nn.LSTM(4, 8, n, bidirectional=True)", "torch.cat([h[0], h[-1]], dim=1)"),
    # running means: of each step, of rows of one length, at their own last step, with a mask, and
    # of zeros at padding
    *(
        padded(ONE, f"y, _ = self.rnn(x)\nr = y.cumsum(1) / steps\nreturn {read}")
        for read in ("r", "self.fc(r)", "r[torch.arange(len(r)), lengths - 1]", "r[:, 0]")
    ),
    model(ONE, "(y.cumsum(1) / torch.arange(1, 9)[:, None])[:, -1]"),
    padded(ONE, f"{UNPACKED}return y.cumsum(1)[:, -1] / lengths.unsqueeze(1)"),
    padded(ONE, "y, _ = self.rnn(x)\nreturn (y * mask).cumsum(1)[:, -1] / mask.sum(1)"),
    padded(ONE, "y, _ = self.rnn(x)\nreturn y.cumsum(2)[:, :, -1]"),
    padded(TWO, f"{UNPACKED}return y.sum(1) / y.shape[2] + y.sum(1) / lengths[:, None]"),
    # options that are not written here; another cell by a condition; other columns
    model("nn.LSTM(4, 8, **options)", "y[:, -1]"),
    padded(ONE, "y, _ = pad_packed_sequence(self.rnn(x)[0], **options)\nreturn y[:, -1]"),
    model(
        "nn.GRU(4, 8, bidirectional=True)\n        self.rnn = nn.LSTM(4, 8, bidirectional=True)",
        "_, h = self.rnn(x)\nreturn h[-1]",
    ),
    padded(ONE, "z = torch.bmm(self.rnn(x)[0].transpose(1, 2), m)\nreturn z[:, :, -1]"),
    model(TWO, "self.fc(y)[:, -1]").replace("nn.Linear(8, 2)", "nn.Sequential(Own())"),
    # not over columns, or not over all of them
    padded(ONE, "y.mean(dim=2)"),
    # padded on the left, or generating
    LAST + "rows = pad_sequences(rows, maxlen=9)\n",
    LAST.replace("forward", "generate"),
    # flipped, but not padded steps
    model(ONE, "return self.rnn(torch.flip(x, [1]))[0]"),
    # zeros for both h and c
    model(ONE, "h = torch.zeros(1, 2, 8); return self.rnn(x, (h, h))[0]"),
    # the file does not say which
    model(ONE, TURNED),
    # the file asks for the option: what it reads is of one of its values
    with_defaults("h[-1]", forward="h = self.rnn(x)[1][0]\nif self.two:\n    return self.fc(h)"),
    with_defaults(
        "y[:, -1]", forward="y = self.rnn(x)[0]\nif self.num_directions == 2:\n    return y.mean(1)"
    ),
    with_defaults(
        "y[:, -1]", forward="y = self.rnn(x)[0]\nif self.rnn.bidirectional:\n    return y.sum(1)"
    ),
    with_defaults(
        "torch.cat([*h[-2:]], 1) if self.two else h[-1]", forward="h = self.rnn(x)[1][0]"
    ),
    # or another class says it
    with_defaults("self.rnn(x)[1][0]")
    + "class One(Model):\n    def __init__(self):\n        super().__init__(4, two=False)\n\n"
    "    def forward(self, x):\n        return self.rnn(x)[1][0][-1]\n",
    # or a name is set to itself
    f"two = two\nrnn = {TWO.replace('True)', 'two)')}\ny = rnn(x)[0][:, -1]\n",
    # or a name has several values, or another meaning where it is read
    f"two = True\ntwo = flag()\nrnn = {TWO.replace('True)', 'two)')}\ny = rnn(x)[0][:, -1]\n",
    f"two = False\nif flag():\n    two = True\nrnn = {TWO.replace('True)', 'two)')}\n"
    "y = rnn(x)[0][:, -1]\n",
    model(f"{ONE}\n        self.rnn = {TWO}", "y[:, -1]"),
    f"class Own:\n    rnn = {TWO}\n    def read(self, x):\n        return rnn(x)[0][:, -1]\n",
    f"rnn = {TWO}\nfrom own import rnn\ndef read(x):\n    return rnn(x)[0][:, -1]\n",
    f"rnn = {TWO}\nrnn = Own()\ndef read(x):\n    return rnn(x)[0][:, -1]\n",
    f"rnn = {TWO}\ndef read(x, rnn):\n    return rnn(x)[0][:, -1]\n",
    f"rnn = {TWO}\ndef read(x):\n    for rnn in own:\n        x = rnn(x)[0][:, -1]\n",
    f"rnn = {TWO}\nread = lambda rnn, x: rnn(x)[0][:, -1]\n",
    f"y, _ = ({TWO})(x)\n" + model(TWO, "y, _ = self.rnn(x)\nreturn [y[-1] for y in self.cut(y)]"),
    model(TIME_FIRST, "y, _ = self.rnn(x)\nfor y in self.cut(y):\n    x = y[:, -1]\nreturn x"),
    "class Own:\n    def forward(self, x):\n        return self.rnn(x)[0][:, -1]\n"
    + model(TWO, "self.fc(y)"),
    model(TWO, "self.fc(y)").replace("        self.fc = ", "        rnn = self.rnn; self.fc = ")
    + "    def other(self, x, rnn):\n        return rnn(x)[0][:, -1]\n",
    # not of PyTorch
    "import paddle.nn as nn\n" + model(TWO, "self.fc(y)[:, -1]"),
    "from .torch.layers import LSTM\n" + model("LSTM(4, 8, bidirectional=True)", "y[-1]"),
    "from keras.layers import LSTM\n" + model("LSTM(8, bidirectional=True)", "y[-1]"),
    # next tokens of one direction, or of a decoder
    model(ONE, "self.fc(y)") + f"{LOSS}\n",
    model(f"{TWO}\n        self.decoder = nn.LSTMCell(4, 8)", "y") + f"{LOSS}\n",
    f"rnn = {TWO}\n"
    "loss = F.cross_entropy(model(x, y[:, :-1]).flatten(0, 1), y[:, 1:].flatten())\n"
    "loss = loss + (x[:, 1:] - x[:, :-1]).abs().mean() + F.mse_loss(x[:, :-1], x[:, 1:])\n",
]


# What decoders, beams and streams read: one step, or what goes on from a state.
DECODERS = [
    *(
        padded(ONE, body)
        for body in (
            "y, state = self.rnn(self.emb(x), state); return self.fc(y[:, -1]), state",
            "y, state = self.rnn(self.emb(x), hx=state); return self.fc(y[:, -1]), state",
            "y, new = self.rnn(self.emb(x), state); return self.fc(y[:, -1]), new",
            "y, (h, c) = self.rnn(x, (h, c)); return self.fc(y[:, -1]), (h, c)",
            "y, self.state = self.rnn(x, self.state); return self.fc(y[:, -1])",
            "both = self.rnn(x, state); return self.fc(both[0][:, -1]), both[1]",
            "if state is None: state = self.init_state(x)\n"
            "y, state = self.rnn(x, state)\nreturn self.fc(y[:, -1]), state",
            "h = torch.zeros(1, 2, 8)\nfor x in chunks:\n"
            "    y, h = self.rnn(x, h)\n    s.append(y[:, -1])\nreturn s",
            # choosing words by itself
            "for _ in range(9):\n    y, _ = self.rnn(self.emb(x))\n"
            "    word = self.fc(y[:, -1]).argmax(-1, keepdim=True)\n"
            "    x = torch.cat([x, word], dim=1)\nreturn x",
        )
    ),
    *(
        padded(ONE, f"y, _ = self.rnn({step}, h); return self.fc(y[:, -1])")
        for step in (
            "self.emb(x)[:, t : t + 1]",
            "self.emb(x[:, -1:])",
            "self.emb(x[:, -1]).unsqueeze(1)",
            "self.emb(x.unsqueeze(-1))",
            "self.emb(x)[:, None]",
            "self.emb(torch.tensor([[start]]))",
            "self.emb(torch.full((len(x), 1), start))",
            "x[:, t, None]",
            "x[:, [t]]",
            "x[:, :1]",
            "x.narrow(1, t, 1)",
            "self.emb(x).view(1, 1, -1)",
            "torch.cat([self.emb(x).unsqueeze(1), context], dim=-1)",
            "x[t : t + 1].transpose(0, 1)",
            # one row alone, or rows that end at their own length
            "self.emb(torch.tensor(x).unsqueeze(0))",
            "x[i : i + 1]",
            "x[i, : lengths[i]][None]",
            "x[i, : lengths[i]].unsqueeze(0)",
        )
    ),
    padded("nn.GRU(4, 8)", "y, _ = self.rnn(self.emb(x).view(1, 1, -1), h); return y[-1]"),
    padded("nn.GRU(4, 8)", "y, _ = self.rnn(x[t : t + 1], h); return y[-1]"),
    model(TWO, "y, _ = self.rnn(self.emb(x).view(1, 1, -1), h); return y[:, -1]"),
    model(TWO, "y, _ = self.rnn(torch.zeros(1, 4).unsqueeze(0), h); return y[:, -1]"),
]
BOTH_DIRECTIONS = [
    model(TWO, f"y, (h, c) = self.rnn(x)\n{body}")
    for body in (
        "backward = h[-1]; forward, _ = h.unbind(0); return forward + backward",
        "n = len(h); return torch.cat([h[n - 2], h[-1]], dim=1)",
        "return torch.cat([*h[:-1], h[-1]], dim=1)",
        "return self.fc(h[-1]) + self.other(h)",
        "return self.fc(h[-1] + h.mean(0))",
        "last = h[-1]; return [self.fc(state) for state in h]",
        "h = h.view(2, 2, -1, 8); return torch.cat([h[-1, 0], h[-1][-1]], dim=1)",
        "h = h.view(2, 2, -1, 8)[-1]; return torch.cat([h[0], h[-1]], dim=1)",
        "return torch.cat([y[:, -1][:, :8], y[:, 0][:, 8:]], dim=1)",
        "last = y[:, -1]; first = y[:, 0]; return torch.cat([last[..., :8], first[..., 8:]], 1)",
        "ahead, _ = y[:, -1].chunk(2, dim=1); _, back = y[:, 0].chunk(2, dim=1); return ahead",
        "return y[:, -1].view(len(x), 2, 8)[:, 0]",
        "return h.view(1, -1)",
        "return self.fc(h.view(-1, 8))",
    )
]
LOW = ('float("-inf")', "-float('inf')", "-math.inf", "-torch.inf", "-1e9", "-2", "self.fill")
MASKED_OTHERWISE = [
    *(padded(TWO, f"{filled(value)}return y.max(dim=1)[0]") for value in LOW),
    padded(TWO, f"{filled('torch.finfo(y.dtype).min')}return torch.max(y, 1).values"),
    "NEVER = -math.inf\n" + padded(TWO, f"{filled('NEVER')}return y.amax(dim=(1,))"),
    padded(TWO, f"{UNPACKED}return y.mean(1) * y.size(1) / lengths.unsqueeze(1)"),
    padded(TWO, f"{UNPACKED}m = y.mean(1); return m * (y.size(1) / lengths).unsqueeze(1)"),
    padded(TWO, f"{UNPACKED}return y.mean(1).mul(y.size(1)).div(lengths.unsqueeze(1))"),
    padded(TWO, f"{UNPACKED.replace('lengths', 'n')}return y.mean(1) * y.size(1) / n[:, None]"),
    padded(TWO, f"{UNPACKED}return y.relu().max(1)[0]"),
    padded(TWO, f"{UNPACKED}return torch.max(F.relu(y), dim=1)[0]"),
]
# Rows of one length, rows without an axis of rows, and what is shown alone.
NOT_PADDED = [
    *(
        padded(ONE, f"y, _ = self.rnn(x)\n{body}")
        for body in (
            "if lengths is None:\n    y = y[:, -1]\nelse:\n    y = y[r, lengths - 1]\nreturn y",
            "if lengths is not None:\n    return y[r, lengths - 1]\nreturn y[:, -1]",
            "return y[:, -1] if lengths is None else y[r, lengths - 1]",
            "if self.mask is None:\n    return y.mean(1)\nreturn y[r, lengths - 1]",
            "assert torch.allclose(y[:, -1], h[-1]); return y",
        )
    ),
    model(TWO, "y, (h, c) = self.rnn(x); print(y[:, -1].shape, h[-1].shape); return y"),
    model(ONE, "y, _ = self.rnn(x[0]); return y[-1]"),
    model(ONE, "y, _ = self.rnn(x.squeeze(0)); return y[-1]"),
    model(ONE, "for i in range(len(x)):\n    y, _ = self.rnn(x[i])\n    s.append(y[-1])\nreturn s"),
]
OTHER_STARTS = [
    model("nn.LSTM(4, 8, num_layers=n, bidirectional=True)", "h[: 2 * self.num_layers]"),
    model(ONE, "z = self.start(x); return self.rnn(x, (z, z))[0]"),
    model(
        "nn.GRU(4, 8)\n        self.decode = nn.LSTM(8, 8)",
        "_, h = self.rnn(x); return self.decode(x, (h, h))[0]",
    ),
    padded(ONE, "return self.rnn(x.flip(1))[0]") + "tokenizer(padding_side='left')\n",
    f"encode = {TWO}\ninputs, targets = y[:, :-1], y[:, 1:]\n"
    "loss = F.cross_entropy(model(x, inputs).flatten(0, 1), targets.flatten())\n",
    f"encode = {TWO}\ninputs, targets = y[:, :-1], y[:, 1:]\n"
    "loss = F.cross_entropy(decoder(inputs, encode(x)).flatten(0, 1), targets.flatten())\n",
]
IDIOMS = [*DECODERS, *BOTH_DIRECTIONS, *MASKED_OTHERWISE, *NOT_PADDED, *OTHER_STARTS]


def found(source: str, file: Path) -> list[tuple[int, str]]:
    file.write_text(source)
    return [(mistake.line, mistake.code) for mistake in lint(file)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.py"


@pytest.mark.parametrize(("code", "source"), CASES, ids=[code for code, _ in CASES])
def test_a_mistake_is_named_at_its_line_or_silenced_there(
    code: str, source: str, file: Path
) -> None:
    lines = source.rstrip().split("\n")
    [here] = [n for n, line in enumerate(lines) if line.endswith("# here")] or [len(lines) - 1]
    assert found(source, file) == [(here + 1, code)]
    for words, expected in ((f"E501, {code}", []), ("E501, RNN999", [(here + 1, code)])):
        lines[here] = f"{lines[here].partition('  #')[0]}  # noqa: {words}"
        assert found("\n".join(lines), file) == expected


@pytest.mark.parametrize("source", [*RIGHT, *IDIOMS])
def test_nothing_is_said_of_what_is_right(source: str, file: Path) -> None:
    assert found(source, file) == []


@pytest.mark.parametrize("options", ["8, 2, False", "8, 2, bias=False"])
def test_zeros_stay_zeros_in_a_layer_without_a_bias(options: str, file: Path) -> None:
    source = padded(ONE, f"{UNPACKED}return self.fc(y).sum(1)")
    assert [code for _, code in found(source, file)] == ["RNN003"]
    without_bias = source.replace("nn.Linear(8, 2)", f"nn.Linear({options})")
    assert found(without_bias, file) == []


def test_empty_indices_and_targets_are_read(file: Path) -> None:
    body = "() = (); x = x[()]; y, (h, c) = self.rnn(x[()]); z = h[()]; return y[()][..., -1, :]"
    assert found(model(TWO, body) + f"{LOSS}\n", file)[0][1] in ("RNN001", "RNN010")


def test_every_rule_has_cases() -> None:
    assert {*WRONG} == {*MISTAKES_BY_RULE}


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_is_wrong_on_purpose_alone(page: str, file: Path) -> None:
    blocks = python_blocks(read(ROOT / page))
    whole, *alone = (
        [f"{rule} {code.splitlines()[line - 1].strip()}" for line, rule in found(code, file)]
        for code in ("\n".join(blocks), *blocks)
    )
    assert whole == ON_PURPOSE.get(page, [])
    assert {line for lines in alone for line in lines} <= {*whole}
    assert page != "README.md" or whole in alone  # a reader pastes that one


def test_a_file_that_is_not_python_is_named(file: Path) -> None:
    with pytest.raises(UserError, match=r"model\.py:1 is not Python"):
        found("def f(:\n", file)


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
    assert first.startswith(f"model.py:9: {said}")
    assert last == "1 file, 1 finding"
    file.write_text(RIGHT[0] + "# noqa\n")
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
