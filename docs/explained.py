"""Write the interactive page of the site: change the network, and see which tensor feeds what.

    python docs/explained.py build/pages/explained/dataflow.html

Every picture in it was traced here, from a real model; the page only chooses among them.
"""

from __future__ import annotations

import base64
import gzip
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

from seqmodels.dataflow.diagram import draw, to_svg
from seqmodels.dataflow.explain import example_batch
from seqmodels.dataflow.tracing import trace
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head
from seqmodels.nn.cell import CELLS, SteppedRNN
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.tasks import TASKS

TEMPLATE = Path(__file__).with_suffix(".html")
HIDDEN_SIZE = 32
OPTIONS: dict[str, list[Any]] = {
    "task": [task.__name__ for task in TASKS],
    "cell": list(CELLS),
    "layers": [1, 2, 3],
    "directions": [1, 2],
    "length": [5, 4, 2],
    "head": list(HEADS),
}
# what `select` of each head does as you write it without this package: sets `features` from output,
# h_n and c_n as PyTorch returns them, lengths, mask and D
LARGEST = "largest = output.masked_fill(~mask[:, :, None], -torch.inf).amax(dim=1)\n"
MEAN = "output.sum(dim=1) / lengths[:, None]"
WEIGHED = """weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
features = torch.einsum("bt,bth->bh", weights, output)"""
START = """h_0 = h_n.unflatten(0, (-1, D)).transpose(1, 2).flatten(2)
c_0 = c_n.unflatten(0, (-1, D)).transpose(1, 2).flatten(2)
decoded, _ = decoder(targets_so_far, (h_0, c_0))
"""
IN_PYTORCH = {
    "last_hidden": "features = h_n[-1]",
    "bidirectional_concat": "features = torch.cat([h_n[-2], h_n[-1]], dim=1)",
    "last_output": "features = output[torch.arange(len(lengths)), lengths - 1]",
    "every_step": "features = output",
    "softmax": "features = output",
    "tied_softmax": "features = output",
    "mean_pool": f"features = {MEAN}",
    "max_pool": LARGEST.replace("largest", "features").rstrip(),
    "concat_pool": f"""{LARGEST}mean = {MEAN}
features = torch.cat([*h_n[-D:], largest, mean], dim=1)""",
    "attention_pool": f"""hidden_layer = torch.tanh(hidden(output))
scores = query(hidden_layer).squeeze(-1)
{WEIGHED}""",
    "max_attention_pool": f"""{LARGEST}keys = nn.functional.normalize(output, dim=-1)
scores = torch.einsum("bth,bh->bt", keys, largest)
{WEIGHED}""",
    "final_state": START + "features = decoded",
    "attention": START
    + """scores = decoded @ to_key(output).transpose(1, 2)  # (B, S, T)
weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
features = torch.tanh(combine(torch.cat([weights @ output, decoded], dim=-1)))""",
}
FIRST = {
    "task": "SequenceClassifier",
    "cell": "lstm",
    "layers": 2,
    "directions": 2,
    "length": 4,
    "head": "bidirectional_concat",
}


def page() -> str:
    """The HTML of the page, which loads nothing else."""
    # tasks whose picture of a head is the same share it, so each is traced once
    kinds: dict[Any, int] = {}
    shown: dict[str, dict[str, int]] = {task.__name__: {} for task in TASKS}
    entries: dict[str, dict[str, Any]] = {}
    traced: set[tuple[int, str]] = set()
    for task, head in product(TASKS, HEADS):
        if not fits(head, task):
            continue
        contract = task.contract_for(head)
        target = contract.target if contract.per == "step" else None
        kind = contract.per, target, contract.causal, contract.stateful
        number = shown[task.__name__][head] = kinds.setdefault(kind, len(kinds))
        if (number, head) not in traced:
            traced.add((number, head))
            made = pictures(task, head)
            entries |= {f"{number}-{choice_name(choice)}": entry for choice, entry in made}
    first = f"{shown[FIRST['task']][FIRST['head']]}-{choice_name(FIRST)}"
    html = TEMPLATE.read_text(encoding="utf-8")
    for name, value in {
        "options": json.dumps(OPTIONS),
        "tasks": json.dumps(shown),
        "chosen": json.dumps(FIRST),
        "packed": base64.b64encode(gzip.compress(json.dumps(entries).encode(), mtime=0)).decode(),
        "first": entries[first]["picture"],
    }.items():
        html = html.replace(f"{{{{ {name} }}}}", value)
    return html


def choice_name(choice: dict[str, Any]) -> str:
    """`lstm-2-1-4-max_pool`: the name of a choice. The page's anchor for it begins with the task:
    `SequenceClassifier-lstm-2-1-4-max_pool`."""
    return "-".join(str(choice[name]) for name in OPTIONS if name != "task")


def fits(head: str, task: type[Task]) -> bool:
    """Whether this task can predict from what the head of this name reads."""
    try:
        network(task, head)
    except UserError:
        return False
    return True


def network(task: type[Task], head: str, **encoder: Any) -> Task:
    """A small one, with the same weights every time."""
    torch.manual_seed(0)
    return task(dict(task.contract.kind.example), {"hidden_size": HIDDEN_SIZE, **encoder}, head)


def pictures(task: type[Task], head: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each choice of an encoder and a length, with what the page shows of it."""
    lengths = OPTIONS["length"]
    for cell, layers, directions in product(
        *(OPTIONS[n] for n in ("cell", "layers", "directions"))
    ):
        choice = {"cell": cell, "layers": layers, "directions": directions, "head": head}
        encoder = {"cell": cell, "num_layers": layers, "bidirectional": directions == 2}
        try:
            made = network(task, head, **encoder)
        except UserError as error:
            # leave out what to set: you choose other directions on the page
            refused = str(error).split(": set ")[0].rstrip(":") + "."
            yield from ((choice | {"length": length}, {"refused": refused}) for length in lengths)
            continue
        code = pytorch_code(made.network.head, made.network.encoder)
        shared = {"shapes": torch_shapes(made.network.encoder), "code": code}
        traced = trace(made.network, example_batch(made, *lengths))  # all lengths at once
        for row, length in enumerate(lengths, start=1):
            shares = {
                n: float(of[[0, row]].flatten(1).sum(1).mean()) for n, of in traced.cells.items()
            }
            entry = {"picture": to_svg(draw(made, traced, row)), "shares": shares}
            yield choice | {"length": length}, entry | shared


def torch_shapes(encoder: RecurrentEncoder) -> dict[str, str]:
    """The shapes that PyTorch returns for this encoder's numbers of layers and directions."""
    size = "P" if encoder.rnn.proj_size else "H"
    double = "2*" if encoder.bidirectional else ""
    states = encoder.num_layers * encoder.num_directions
    shapes = {"output": f"(B, T, {double}{size})", "h_n": f"({states}, B, {size})"}
    return shapes | ({"c_n": f"({states}, B, H)"} if "c_n" in encoder.state_sizes else {})


def pytorch_code(head: Head, encoder: RecurrentEncoder) -> tuple[str, str]:
    """The same in plain PyTorch: how to get the tensors from `inputs` and `lengths`, and `features`
    from the tensors. Shows the source of `select` for a head without `IN_PYTORCH`."""
    rnn = encoder.rnn
    options = [f"num_layers={rnn.num_layers}"] if rnn.num_layers > 1 else []
    options += ["bidirectional=True"] if rnn.bidirectional else []
    options += [f"proj_size={rnn.proj_size}"] if rnn.proj_size else []
    final = "(h_n, c_n)" if "c_n" in encoder.state_sizes else "h_n"
    if isinstance(rnn, SteppedRNN):
        lines = [
            f"rnn = SteppedRNN({', '.join([type(rnn.l0).__name__, 'F', 'H', *options])})",
            f"output, {final} = rnn(inputs, lengths=lengths)",
        ]
    else:
        made = f"nn.{type(rnn).__name__}({', '.join(['F', 'H', *options])}, batch_first=True)"
        packed = "pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)"
        lines = [
            f"rnn = {made}",
            f"packed = {packed}",
            f"output, {final} = rnn(packed)",
            "output, _ = pad_packed_sequence(output, batch_first=True)",
        ]
    source = textwrap.dedent(inspect.getsource(type(head).select))
    own = IN_PYTORCH.get(head.name) or source.rstrip()
    if "c_n" not in encoder.state_sizes:
        own = re.sub(r"c_0 = .*\n", "", own).replace("(h_0, c_0)", "h_0")
    if re.search(r"\bmask\b", own):
        lines.append("mask = torch.arange(output.shape[1]) < lengths[:, None]")
    if re.search(r"\bD\b", own):
        lines.append(f"D = {encoder.num_directions}")
    return "\n".join(lines), own


if __name__ == "__main__":
    torch.set_num_threads(1)  # networks as small as these are quicker so
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(), encoding="utf-8")
