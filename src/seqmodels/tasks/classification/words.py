"""Show which words of some test texts count for the predicted class, and which against it."""

from __future__ import annotations

from html import escape
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqmodels.device import exact
from seqmodels.screen import visible

EACH, LONGEST, ROWS = 6, 100, 64  # right texts, and wrong ones; tokens of one; rows to read at once
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Which words count</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
  :root { color-scheme: light dark; font: 16px/1.7 ui-sans-serif, system-ui, sans-serif }
  body { max-width: 50rem; margin: auto; padding: 1rem; overflow-wrap: anywhere }
  article { border: 1px solid #8888; border-radius: 8px; padding: 0 1rem; margin: .75rem 0 }
  article p:last-child { white-space: pre-wrap } span { border-radius: 3px }
</style><body>
<h1>Which words count for the predicted class?</h1>
<p>Each token was left out once. It is blue if the log-odds of the predicted class are lower without
it, so that it counts for this class, and orange if they are higher, so that it counts against it.
The deeper its colour, the more it counts in its text; colours of two texts don't compare. Words
that say the same can stand in for each other, and then none is deep. Texts of more than 100 tokens
are left out.</p>
"""


def words_page(task: Any, data: Any) -> dict[str, str]:
    """`words.html` of a test of texts: the first right and the first wrong ones, each word shaded
    by how much it counts for the predicted class, as `left_out` measures it.

    Args:
        task: what it has told of its rows says which are right.
        data: the dataset that was tested.
    """
    if not len(getattr(data, "raw", ())):
        return {}
    told = sorted((task.told or {}).items())
    short = [(n, row["target"], row["prediction"]) for n, row in told if data.lengths[n] <= LONGEST]
    page = ""
    for title, right in (("wrong", False), ("right", True)):
        chosen = ((n, target) for n, target, made in short if (target == made) == right)
        texts = "".join(article(task, data, *each) for each in islice(chosen, EACH))
        page += f"<h2>The first that are {title}</h2>\n{texts}" if texts else ""
    return {"words.html": PAGE + page} if page else {}


def article(task: Any, data: Any, row: int, target: str) -> str:
    """A row as HTML; empty if its input is not a text."""
    if not (pieces := data.encoder.pieces(data.raw[row])):
        return ""
    label, share, counts = left_out(task, data.sequences[row])
    shades, text = iter((counts / counts.abs().max().clamp(min=1e-30)).tolist()), ""
    for piece, is_token in pieces:
        shade, shown = next(shades) if is_token else 0.0, escape(visible(piece))
        colour = f"{'37, 99, 235' if shade > 0 else '217, 119, 6'}, {0.6 * abs(shade):.2f}"
        span = f'<span style="background: rgba({colour})" title="{shade:+.2f}">{shown}</span>'
        text += span if shade else shown
    names = [escape(visible(name)) for name in (task.classes[label], target)]
    what = f"row {1 + row}: predicted {names[0]} ({100 * share:.1f} %), is {names[1]}"
    return f"<article>\n<p><small>{what}</small></p>\n<p>{text}</p>\n</article>\n"


@torch.inference_mode()
def left_out(
    task: Any, tokens: Int[Tensor, "time ..."]
) -> tuple[int, float, Float[Tensor, " time"]]:
    """The predicted class of a text, its probability, and for each token by how much the log-odds
    of that class are lower without it: by what the network does, not by a slope. A token above 0
    counts for the class, and one below 0 against it; one that stands alone counts 0."""
    predict, count, tokens = task.as_function(), len(tokens), tokens.to(task.device)
    logits = exact(predict(tokens.unsqueeze(0), torch.tensor([count])))
    label, share = int(logits.argmax()), float(logits.softmax(dim=1).max())
    if count > 1:
        kept = ~torch.eye(count, dtype=torch.bool, device=tokens.device)
        rows = tokens[kept.nonzero()[:, 1].view(count, count - 1)].split(ROWS)
        found = [exact(predict(some, torch.full((len(some),), count - 1))) for some in rows]
        logits = torch.cat([logits, *found])
    others = torch.arange(logits.shape[1], device=logits.device) != label
    log_odds = logits[:, label] - logits[:, others].logsumexp(dim=1)
    return label, share, (log_odds[0] - log_odds[-count:]).float().cpu()
