"""Show which words of some test examples count for the predicted class, and which against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from jaxtyping import Float, Int
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seqmodels.batch import UNSEEN_NAME
from seqmodels.data.loading import SequenceDataset
from seqmodels.engine import Task
from seqmodels.files import write_text

EACH = 6  # right examples, and as many wrong ones
LONGEST = 100  # tokens: each is left out once
ROWS = 64  # to read at a time


class Words(Callback):
    """Writes `figures/words.html` of a test of texts into the run folder: the first right and the
    first wrong ones, with each word shaded by how much it counts for the predicted class, as
    `left_out` measures it. Of other inputs it writes nothing."""

    def on_test_start(self, *_: Any) -> None:
        self.rows: list[Tensor] = []
        self.wrong: list[bool] = []

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if batch.rows is not None and "rows" in (outputs or {}):
            self.rows.append(batch.rows)
            self.wrong += [row["target"] != row["prediction"] for row in outputs["rows"]]

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        dataset: Any = getattr(trainer.test_dataloaders, "dataset", None)
        if not (trainer.is_global_zero and self.rows and len(getattr(dataset, "raw", ()))):
            return
        rows, wrong = torch.cat(self.rows), torch.tensor(self.wrong)
        order = rows.argsort()  # of the data
        readable = (dataset.lengths[rows] <= LONGEST)[order]
        shown = {
            title: examples(pl_module, dataset, rows[order[readable & which[order]]][:EACH])
            for title, which in (("wrong", wrong), ("right", ~wrong))
        }
        if not any(shown.values()):
            return
        from seqmodels.dataflow.page import TEMPLATES  # which draws networks, too

        figures = Path(trainer.default_root_dir) / "figures"
        figures.mkdir(exist_ok=True)
        page = TEMPLATES.get_template("dataflow/words.html")
        write_text(figures / "words.html", page.render(shown=shown))


@dataclass(frozen=True)
class Example:
    """A text with what its pieces count.

    Args:
        pieces: of the text, and from -1 to 1 how much each counts; None for what lies between.
    """

    row: int
    target: str
    prediction: str
    probability: float
    pieces: Sequence[tuple[str, float | None]]


def examples(task: Task, dataset: SequenceDataset, rows: Tensor) -> list[Example]:
    """These rows of a data set; none of inputs that are not texts."""
    classes, found = task.hparams["data"]["classes"], []
    for row in rows.tolist():
        pieces = dataset.encoder.pieces(dataset.raw[row])
        if not pieces:
            continue
        tokens = dataset.sequences[row]
        label, probability, counts = left_out(task, tokens)
        largest = float(counts.abs().max()) or 1.0
        shares = iter((counts / largest).tolist())
        target = int(cast(Tensor, dataset.targets)[row])
        found.append(
            Example(
                row,
                classes[target] if target >= 0 else UNSEEN_NAME,
                classes[label],
                probability,
                [(text, next(shares) if is_token else None) for text, is_token in pieces],
            )
        )
    return found


@torch.inference_mode()
def left_out(
    task: Any, tokens: Int[Tensor, "time ..."]
) -> tuple[int, float, Float[Tensor, " time"]]:
    """The predicted class of a text, its probability, and for each token by how much the log-odds
    of that class are lower without it. So a token above 0 counts for the class, and one below 0
    against it, by what the network does, not by a slope. A token that stands alone counts 0."""
    predict, count = task.as_function(), len(tokens)
    tokens = tokens.to(task.device)
    [whole] = predict(tokens.unsqueeze(0), torch.tensor([count])).double()
    label = int(whole.argmax())
    counts = torch.zeros(count)
    if count > 1:
        kept = ~torch.eye(count, dtype=torch.bool, device=tokens.device)
        rows = tokens[kept.nonzero()[:, 1].view(count, count - 1)]
        lengths = torch.full((count,), count - 1)
        some = zip(rows.split(ROWS), lengths.split(ROWS), strict=True)
        logits = torch.cat([predict(*each) for each in some]).double()
        counts = (log_odds(whole, label) - log_odds(logits, label)).float().cpu()
    return label, float(whole.softmax(dim=0)[label]), counts


def log_odds(logits: Float[Tensor, "*rows classes"], label: int) -> Float[Tensor, "*rows"]:
    """Of one class against all others."""
    others = torch.arange(logits.shape[-1], device=logits.device) != label
    return logits[..., label] - logits[..., others].logsumexp(dim=-1)
