"""Mistakes with recurrent networks: one name, meaning and cure for the audit, the linter and pages.

The examples are files: code that is wrong or right, put in the place of `...` in the code around
it. This module needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

IMPORTS = """\
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from seqmodels.padding import last_step, masked_max, masked_mean, masked_softmax, reverse_by_length

"""
# The networks of the examples.
ONE = "nn.LSTM(4, 8, batch_first=True)"
TWO = "nn.LSTM(4, 8, batch_first=True, bidirectional=True)"
TWO_LAYERS = "nn.LSTM(4, 8, 2, batch_first=True, bidirectional=True)"
PROJECTED = "nn.LSTM(4, 8, batch_first=True, proj_size=2)"
# The final states of both directions of the last layer.
BOTH_ENDS = "torch.cat([h_n[-2], h_n[-1]], dim=1)"


@dataclass(frozen=True)
class Example:
    """Code with a mistake, and what to write instead.

    Args:
        wrong: the code, as a page shows it.
        right: what stands in its place.
        around: the rest of the file, with `...` where the code stands. It defines `model`, or a
            class `Stream`.
        where: what the wrong code is wrong for, in words.
        rule: the code of the linter's rule that finds it; empty: only running it shows it.
    """

    wrong: str
    right: str
    around: str
    where: str = ""
    rule: str = ""

    @property
    def wrong_file(self) -> str:
        return IMPORTS + self.around.replace("...", self.wrong)

    @property
    def right_file(self) -> str:
        return IMPORTS + self.around.replace("...", self.right)


@dataclass(frozen=True)
class Mistake:
    """A mistake: what the audit finds by running a model, and the linter by reading its source.

    Args:
        name: how the audit, the linter, pages and katas call it.
        meaning: what it does to a model.
        cure: what to do about it.
        check: how to see it in plain PyTorch.
        examples: code that makes the mistake, the most common first.
        rules: what the linter says of a line, by the code of its rule. Words of the line stand for
            `{}`.
        katas: the numbers of the katas in which to find and repair it.
        is_of_a_stream: whether only a stream can make it, which keeps its state between calls.
        is_warning: whether a model may intend it; the others are wrong logits or a lost direction.
    """

    name: str
    meaning: str
    cure: str
    check: str
    examples: tuple[Example, ...]
    rules: Mapping[str, str] = field(default_factory=dict)
    katas: tuple[int, ...] = ()
    is_of_a_stream: bool = False
    is_warning: bool = False


def _model(body: str, network: str = ONE, arguments: str = "inputs") -> str:
    """A file with a network and a function that reads it."""
    indented_body = body.replace("\n", "\n    ")
    return f"rnn = {network}\n\n\ndef model({arguments}):\n    {indented_body}\n"


def _read(network: str = ONE, arguments: str = "inputs") -> str:
    """A model that returns what the code reads of `output`, `h_n` and `c_n`."""
    return _model("output, (h_n, c_n) = rnn(inputs)\nreturn ...", network, arguments)


PADDED = _read(arguments="inputs, lengths")
RUNNING_MEAN = _model(
    """\
output, (h_n, c_n) = rnn(inputs)
steps = torch.arange(1, output.shape[1] + 1).view(1, -1, 1)
running_mean = output.cumsum(1) / steps
return ...""",
    arguments="inputs, lengths",
)
ATTENTION = "score = nn.Linear(8, 1)\n" + _model(
    """\
output, (h_n, c_n) = rnn(inputs)
scores = score(output)
weights = ...
return (weights * output).sum(1)""",
    arguments="inputs, lengths",
)
REVERSED = _model(
    """\
output, (h_n, c_n) = ...
return masked_mean(output, lengths)""",
    arguments="inputs, lengths",
)
LAST_COLUMN = _model(
    """\
output, (h_n, c_n) = rnn(inputs)
return output[:, -1]""",
    network="...",
)
SORTED = _model(
    """\
sorted_lengths, order = lengths.sort(descending=True)
packed = pack_padded_sequence(inputs[order], sorted_lengths, batch_first=True)
output, (h_n, c_n) = rnn(packed)
return ...""",
    arguments="inputs, lengths",
)
NEXT_TOKEN = """\
embed = nn.Embedding(8, 4)
rnn = nn.LSTM(4, 8, batch_first=True, ...)


def model(tokens):
    return rnn(embed(tokens))[0]


def loss(tokens):
    return F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
"""
CARRIED = _model(
    """\
h, c = state or (inputs.new_zeros(1, len(inputs), 8),) * 2
return ...""",
    arguments="inputs, lengths, state=None",
)
STARTED = _model(
    """\
start = ...(1, len(inputs), 8)
output, (h_n, c_n) = rnn(inputs, (start, start))
return h_n[-1]"""
)
DIRECTIONS = "num_layers = 2\n" + _model(
    """\
output, (h_n, c_n) = rnn(inputs)
forward = ...
backward = h_n[1::2]
return torch.cat([forward[-1], backward[-1]], dim=1)""",
    network="nn.LSTM(4, 8, num_layers, batch_first=True, bidirectional=True)",
)
CLASSIFIED = "classify = nn.Linear(8, 3)\n" + _model(
    """\
output, (h_n, c_n) = rnn(inputs)
return classify(...)"""
)
SCORED = "classify = nn.Linear(8, 3)\n" + _model(
    """\
output, (h_n, c_n) = rnn(inputs)
scores = classify(h_n[-1])
return ..."""
)
FINAL_STATE = _model(
    """\
output, (h_n, c_n) = ...
return h_n[-1]"""
)
STREAM = """\
class Stream:
    def __init__(self):
        self.rnn = nn.GRU(4, 8, batch_first=True)
        self.state = None

    def reset(self):
        {reset}

    def __call__(self, chunk):
        output, state = {run}
        {keep}
        return output
"""


def _stream(**changed_code: str) -> str:
    """A stream that is right but for what is changed, by its name in `STREAM`."""
    code = {
        "reset": "self.state = None",
        "run": "self.rnn(chunk, self.state)",
        "keep": "self.state = state.detach()",
    }
    code.update(changed_code)
    return STREAM.format(**code)


SHARED = _stream(reset="... = None", run="self.rnn(chunk, ...)", keep="... = state.detach()")
SHARED += "\n\nStream.state = None\n"

LISTED = (
    Mistake(
        name="padding_leak",
        meaning="padding changes a logit, perhaps in training mode alone",
        cure=(
            "read only valid steps: gather output at length - 1, or take h_n of a packed sequence; "
            "mask padding before pooling, and divide by each row's own length"
        ),
        check="run a short row alone, cut to its own length, and then among longer ones",
        examples=(
            Example(
                "output[:, -1]", "last_step(output, lengths)", PADDED, "of one direction", "RNN002"
            ),
            Example("output.mean(1)", "masked_mean(output, lengths)", PADDED, rule="RNN003"),
            Example("output.amax(1)", "masked_max(output, lengths)", PADDED, rule="RNN003"),
            Example(
                "running_mean[:, -1]",
                "last_step(running_mean, lengths)",
                RUNNING_MEAN,
                "of `output.cumsum(1) / steps`",
            ),
            Example(
                "scores.softmax(1)",
                "masked_softmax(scores, lengths)",
                ATTENTION,
                rule="RNN003",
            ),
            Example(
                "rnn(inputs.flip(1))",
                "rnn(reverse_by_length(inputs, lengths))",
                REVERSED,
                rule="RNN007",
            ),
        ),
        rules={
            "RNN002": (
                "the last column is padding in shorter rows: take output at each row's length - 1, "
                "or h_n of packed rows"
            ),
            "RNN003": (
                "{} over all columns counts padding: mask it (a mean divides by each row's own "
                "length)"
            ),
            "RNN007": (
                "flips padded rows, so that the network begins in the padding: reverse "
                "each row within its own length"
            ),
        },
        katas=(1, 4, 6, 7),
    ),
    Mistake(
        name="batch_leak",
        meaning="another row, or the order of rows, changes a logit",
        cure=(
            "keep rows apart: h_n is (L*D, B, H), so transpose it to (B, L*D, H) before you "
            "flatten it; if you sort rows, put back all that you read of them by the inverse, "
            "order.argsort()"
        ),
        check="reorder the rows of a batch: the logits should be the same, reordered",
        examples=(
            Example(
                "h_n.reshape(len(inputs), -1)",
                "h_n.transpose(0, 1).flatten(1)",
                _read(TWO),
                "of several layers or directions",
                "RNN004",
            ),
            Example("nn.LSTM(4, 8)", ONE, LAST_COLUMN, "of inputs `(B, T, F)`", "RNN008"),
            Example(
                "h_n[-1][order]", "h_n[-1][order.argsort()]", SORTED, "of rows sorted by `order`"
            ),
        ),
        rules={
            "RNN004": (
                "flattens (L*D, B, H) as if it were (B, L*D, H), which mixes rows of the batch: "
                "transpose it first"
            ),
            "RNN008": "takes the last row, not the last step: the axes of this output are {}",
        },
        katas=(3, 8),
    ),
    Mistake(
        name="future_leak",
        meaning="with `causal=True`, a later step changes an earlier logit",
        cure=(
            "let a step depend only on itself and earlier steps: use one direction, a causal mask, "
            "or convolutions padded on the left"
        ),
        check="change inputs[:, 10:]: the logits before step 10 should stay",
        examples=(
            Example(
                "bidirectional=True",
                "bidirectional=False",
                NEXT_TOKEN,
                "under a next-token loss",
            ),
        ),
        katas=(9,),
    ),
    Mistake(
        name="state_mixup",
        meaning="resuming from its state differs from one pass, or a call changes the next",
        cure=(
            "pass on h and c, each in its own place and with the rows in their own order, as the "
            "(L*D, B, H) that the network returned, and keep nothing between calls"
        ),
        check="read 20 steps at once; then 10, and from the returned state 10 more",
        examples=(Example("rnn(inputs, (h, h))", "rnn(inputs, (h, c))", CARRIED),),
        katas=(5,),
    ),
    Mistake(
        name="random_state",
        meaning="the same call twice differs in evaluation mode",
        cure=(
            "start from zeros or from a learned state, not from torch.randn, and pass "
            "self.training to functional dropout"
        ),
        check="call the model twice with the same batch: the logits should be the same",
        examples=(
            Example(
                "torch.randn",
                "torch.zeros",
                STARTED,
                "as the first state",
            ),
        ),
    ),
    Mistake(
        name="row_count",
        meaning="the number of rows changes",
        cure=(
            "return logits (B, ...), or (B, T, ...) for kind=per_step: with proj_size=P, h_n is P "
            "wide, so view(-1, hidden_size) changes the number of rows"
        ),
        check="print logits.shape for a batch of 4",
        examples=(Example("h_n.view(-1, 8)", "h_n[-1]", _read(PROJECTED), "with `proj_size=2`"),),
    ),
    Mistake(
        name="truncated_direction",
        meaning="a direction is read where it has only seen one step",
        cure=(
            "take h_n of both directions, or output[:, last, :H] and output[:, 0, H:], or pool "
            "over all steps: forward ends at the last step, backward at the first"
        ),
        check="change one step in the middle: the backward half should move, too",
        examples=(Example("output[:, -1]", BOTH_ENDS, _read(TWO), "of two directions", "RNN001"),),
        rules={
            "RNN001": (
                "the last step of two directions: the backward half has seen one step; take "
                "h_n[-2] and h_n[-1], or output[:, last, :H] and output[:, 0, H:]"
            ),
        },
        katas=(2,),
    ),
    Mistake(
        name="unread_direction",
        meaning="a layer or direction cannot change the result",
        cure=(
            "read both h_n[-2] and h_n[-1], which are forward and backward of the last layer, or "
            "build the network without the direction or layer that you don't read"
        ),
        check="look at each weight's .grad after logits.sum().backward()",
        examples=(
            Example("h_n[-1]", BOTH_ENDS, _read(TWO), "of two directions", "RNN006"),
            Example(
                "torch.cat([h_n[2], h_n[1]], dim=1)",
                "torch.cat([h_n[2], h_n[3]], dim=1)",
                _read(TWO_LAYERS),
                "of two layers and directions",
                "RNN011",
            ),
            Example(
                "h_n[:num_layers]",
                "h_n[0::2]",
                DIRECTIONS,
                "as the states of a direction",
                "RNN005",
            ),
        ),
        rules={
            "RNN005": (
                "takes some layers for a direction, and never reads {}: h_n is ordered layer 0 "
                "forward, layer 0 backward, layer 1 forward, ...; view it as (L, D, B, H)"
            ),
            "RNN006": "of the last layer, never reads {}: take h_n of each direction",
            "RNN011": (
                "joins states of two layers, and never reads {}: h_n is ordered layer 0 forward, "
                "layer 0 backward, layer 1 forward, ...; take h_n[-2] and h_n[-1]"
            ),
        },
    ),
    Mistake(
        name="lost_gradient",
        meaning="no gradient reaches a network that the logits depend on",
        cure=(
            "take out detach(), .data and NumPy between the network and its logits, or say that it "
            "isn't to learn: network.requires_grad_(False)"
        ),
        check="after logits.sum().backward(), its weights have no .grad",
        examples=(Example("h_n[-1].detach()", "h_n[-1]", CLASSIFIED),),
    ),
    Mistake(
        name="stale_state",
        meaning="the newest step of a row changes some of its logits, not others",
        cure=(
            "forecast the whole horizon from the final state or a pooling, or roll forward from "
            "the last step: output[:, -h] has seen only the steps up to itself"
        ),
        check="change the newest step of a row: all of its forecasts should move",
        examples=(Example("output[:, -4:]", "h_n[-1]", _read(), "for 4 forecasts"),),
        katas=(10,),
    ),
    Mistake(
        name="constant_logit",
        meaning="some logits depend on no input, others do",
        cure=(
            "if it isn't a reference class or a mask of yours, look for an output that is "
            "overwritten, or computed from nothing of the row"
        ),
        check="compare the logits of two other batches: each should differ",
        examples=(Example("scores * torch.tensor([1, 0, 1])", "scores", SCORED),),
        is_warning=True,
    ),
    Mistake(
        name="unread_step",
        meaning="valid steps cannot change the result",
        cure=(
            "look for an index or a mask that is off by some steps, or for a cut: valid steps are "
            "lost"
        ),
        check="change one valid step after the other: each should move the logits",
        examples=(Example("rnn(inputs[:, 1:])", "rnn(inputs)", FINAL_STATE),),
        is_warning=True,
    ),
    Mistake(
        name="lost_state",
        meaning="in chunks, the logits differ from those of all steps at once",
        cure=(
            "keep h and c of all layers, and the steps that a convolution still needs, between "
            "calls; take one direction, and no statistics over a chunk"
        ),
        check="read 20 steps at once; then, after a reset, one by one",
        examples=(Example("self.rnn(chunk)", "self.rnn(chunk, self.state)", _stream(run="...")),),
        katas=(11,),
        is_of_a_stream=True,
    ),
    Mistake(
        name="kept_state",
        meaning="after `reset()`, it isn't as new",
        cure=(
            "let reset() make all that a new stream has: h, c, kept steps, counters, and running "
            "sums, for any number of rows"
        ),
        check="read rows, call reset(), and read them again: the logits should be the same",
        examples=(Example("pass", "self.state = None", _stream(reset="..."), "in `reset`"),),
        katas=(12,),
        is_of_a_stream=True,
    ),
    Mistake(
        name="shared_state",
        meaning="rows or streams reach each other, or the caller's tensors change",
        cure=(
            "keep the state in the stream itself, a row for each row, not in its class, in the "
            "model or in the caller's tensors"
        ),
        check="make two streams, and let the second read between two chunks of the first",
        examples=(Example("Stream.state", "self.state", SHARED),),
        katas=(13,),
        is_of_a_stream=True,
    ),
    Mistake(
        name="kept_graph",
        meaning="with gradients on, the graph grows with each call",
        cure=(
            "run it under torch.no_grad(), or keep state.detach(): else its graph grows with each "
            "call until the memory is full"
        ),
        check="call it again and again with gradients on: each call takes more memory",
        examples=(
            Example("self.state = state", "self.state = state.detach()", _stream(keep="...")),
        ),
        is_of_a_stream=True,
        is_warning=True,
    ),
)
MISTAKES: dict[str, Mistake] = {mistake.name: mistake for mistake in LISTED}
"""Each mistake by its name; those of a stream come last."""

MISTAKES_BY_RULE: dict[str, Mistake] = {
    code: mistake for mistake in LISTED for code in mistake.rules
}
"""What the linter finds, by the codes of its rules."""
