"""Write an HTML page in which you change the network and see which tensor feeds what.

Every picture in it was traced here, from a real model; the page only chooses among them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from itertools import product
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from seqmodels.dataflow.diagram import draw
from seqmodels.dataflow.example import example_batch, example_task, fits
from seqmodels.dataflow.rendering import to_svg
from seqmodels.dataflow.tracing import trace
from seqmodels.engine import Contract, Task
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head
from seqmodels.nn.cell import CELLS, SteppedRNN
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.screen import visible
from seqmodels.tasks import TASKS

LENGTHS = (5, 4, 2)
TEMPLATES = Environment(
    loader=PackageLoader("seqmodels", "."),
    autoescape=True,  # names may be a stranger's
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.policies["json.dumps_kwargs"] = {"sort_keys": False}
TEMPLATES.filters["visible"] = visible
TEMPLATES.filters["sha256"] = lambda script: base64.b64encode(
    hashlib.sha256(script.encode()).digest()
).decode()


def page(task: Task) -> str:
    """The HTML of the page, which loads nothing else. It shows this model first, with the numbers
    that it has elsewhere; the other networks are as wide."""
    tasks = {each.__name__: each for each in (type(task), *TASKS)}
    chosen: dict[str, Any] = {
        "task": type(task).__name__,
        "cell": task.encoder.cell,
        "layers": task.encoder.num_layers,
        "directions": task.encoder.num_directions,
        "length": LENGTHS[1],
        "head": task.head.name,
    }
    options: dict[str, list[Any]] = {
        "task": list(tasks),
        "cell": list(CELLS),
        "layers": list(range(1, max(3, chosen["layers"]) + 1)),
        "directions": [1, 2],
        "length": list(LENGTHS),
        "head": list(HEADS),
    }
    # tasks whose picture of a head is the same share it, so each is traced once
    kinds: dict[Any, int] = {}
    shown: dict[str, dict[str, int]] = {name: {} for name in tasks}
    entries: dict[str, dict[str, Any]] = {}
    traced: set[tuple[int, str]] = set()
    for (name, each), head in product(tasks.items(), HEADS):
        if not fits(head, each):
            continue
        kind = _kind(each.contract_for(head))
        number = shown[name][head] = kinds.setdefault(kind, len(kinds))
        if (number, head) not in traced:
            made = _entries(options, each, head, task)
            entries |= {f"{number}-{choice}": entry for choice, entry in made}
            traced.add((number, head))
    packed = base64.b64encode(gzip.compress(json.dumps(entries).encode(), mtime=0)).decode()
    first = f"{shown[chosen['task']][chosen['head']]}-{choice_name(chosen)}"
    return TEMPLATES.get_template("dataflow/page.html").render(
        options=options,
        tasks=shown,
        chosen=chosen,
        packed=packed,
        first=entries[first]["picture"],
    )


def _kind(contract: Contract) -> tuple[Any, ...]:
    """What a picture shows of a task, besides its head."""
    target = contract.target if contract.per == "step" else None
    return contract.per, target, contract.causal, contract.stateful


def choice_name(choice: dict[str, Any]) -> str:
    """`lstm-2-1-4-max_pool`: the name of a choice. The page's anchor for it begins with the task:
    `SequenceClassifier-lstm-2-1-4-max_pool`."""
    names = ("cell", "layers", "directions", "length", "head")
    return "-".join(str(choice[name]) for name in names)


def _entries(
    options: dict[str, list[Any]], kind: type[Task], head: str, own: Task
) -> Iterator[tuple[str, dict[str, Any]]]:
    size = own.encoder.rnn.hidden_size
    asked = (type(own), own.head.name, own.encoder.cell, own.encoder.num_layers)
    for cell, layers, directions in product(
        *(options[n] for n in ("cell", "layers", "directions"))
    ):
        choice = {"cell": cell, "layers": layers, "directions": directions, "head": head}
        is_own = (kind, head, cell, layers, directions) == (*asked, own.encoder.num_directions)
        try:
            task = own if is_own else example_task(cell, layers, directions == 2, head, kind, size)
        except UserError as error:
            # leave out what to set: you choose other directions on the page
            refused = str(error).split(": set ")[0].rstrip(":") + "."
            for length in options["length"]:
                yield choice_name(choice | {"length": length}), {"refused": refused}
            continue
        code = pytorch_code(task.head, task.encoder)
        shared = {"shapes": torch_shapes(task.encoder), "code": code}
        traced = trace(task, example_batch(task, *options["length"]))  # all lengths at once
        for row, length in enumerate(options["length"], start=1):
            shares = {n: float(of[[0, row]].mean()) for n, of in traced.row_shares.items()}
            entry = {"picture": to_svg(draw(task, traced, row)), "shares": shares}
            yield choice_name(choice | {"length": length}), entry | shared


def torch_shapes(encoder: RecurrentEncoder) -> dict[str, str]:
    """The shapes that PyTorch returns for this encoder's numbers of layers and directions."""
    size = "P" if encoder.rnn.proj_size else "H"
    double = "2*" if encoder.bidirectional else ""
    states = encoder.num_layers * encoder.num_directions
    shapes = {"output": f"(B, T, {double}{size})", "h_n": f"({states}, B, {size})"}
    return shapes | ({"c_n": f"({states}, B, H)"} if encoder.has_cell_state else {})


def pytorch_code(head: Head, encoder: RecurrentEncoder) -> tuple[str, str]:
    """The same in plain PyTorch: how to get the tensors from `inputs` and `lengths`, and `features`
    from the tensors. Shows the source of `select` for a head without `in_pytorch`."""
    rnn = encoder.rnn
    options = [f"num_layers={rnn.num_layers}"] if rnn.num_layers > 1 else []
    options += ["bidirectional=True"] if rnn.bidirectional else []
    options += [f"proj_size={rnn.proj_size}"] if rnn.proj_size else []
    final = "(h_n, c_n)" if encoder.has_cell_state else "h_n"
    made = f"nn.{type(rnn).__name__}({', '.join(['F', 'H', *options])}, batch_first=True)"
    if isinstance(rnn, SteppedRNN):
        made = f"SteppedRNN({', '.join([type(rnn.l0).__name__, 'F', 'H', *options])})"
    lines = [
        f"rnn = {made}",
        "packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)",
        f"output, {final} = rnn(packed)",
        "output, _ = pad_packed_sequence(output, batch_first=True)",
    ]
    if re.search(r"\bmask\b", head.in_pytorch):
        lines.append("mask = torch.arange(output.shape[1]) < lengths[:, None]")
    if re.search(r"\bD\b", head.in_pytorch):
        lines.append(f"D = {encoder.num_directions}")
    own = textwrap.dedent(inspect.getsource(type(head).select)).rstrip()
    return "\n".join(lines), head.in_pytorch or own
