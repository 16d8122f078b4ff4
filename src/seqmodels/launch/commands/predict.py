from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from seqmodels.arguments import Count, Name
from seqmodels.errors import UserError, refusing
from seqmodels.launch.command_line import Accelerator, Checkpoint, Names, command, named_run


@command
def main(
    run: Name,
    *,
    input: Name,
    beam: Count | None = None,
    attribute: bool = False,
    stream: bool = False,
    checkpoint: Checkpoint = "best",
    batch_size: Count | None = None,
    labels: Name | None = None,
    accelerator: Accelerator = "auto",
    imports: Names = (),
    allowed_targets: Names = (),
) -> None:
    """Predict for new inputs: one JSON line per input.

    python scripts/predict.py run=runs/<folder> input=new.csv > predictions.jsonl

    Args:
        run: the run folder.
        input: a file like the training file, or one input per line (.txt, .jsonl); -: standard
            input.
        labels: a second table with what is known of each series, in the place of data.labels of the
            training; for columns that the input lacks.
        beam: of a model that writes texts: beginnings to keep for each; null: as in training.
        attribute: add how much each step of the input counts for the prediction, as `steps`.
        stream: take the inputs for the next steps of one long row, and predict after each.
    """
    from rich.progress import track

    from seqmodels.screen import Screen, visible

    options = {} if beam is None else {"beam": beam}
    finished = named_run(
        run, checkpoint, imports, allowed_targets, batch_size=batch_size, labels=labels
    )
    predictions: Iterable[dict[str, Any]]
    if stream:
        if options or batch_size or attribute:
            others = "beam, batch_size and attribute"
            raise UserError(f"stream=true reads one row, step by step: leave out {others}")
        steps = finished.read_inputs(input, steps=True)
        predictions = streamed(finished.stream(accelerator=accelerator), steps)
    else:
        inputs = finished.read_inputs(input)
        predictions = finished.predictions(
            inputs, input, accelerator, attribute=attribute, **options
        )
    screen = Screen(stderr=True)
    hidden = sys.stdout.isatty() or not screen.is_terminal  # a terminal shows the predictions
    shown = track(predictions, "predicting", console=screen, disable=hidden, transient=True)
    for number, prediction in enumerate(shown, start=1):
        with refusing(f"{input}: the prediction for input {number}", ValueError):
            line = json.dumps(prediction, ensure_ascii=False, allow_nan=False)  # no nan in JSON
        sys.stdout.write(visible(line) + "\n")
        sys.stdout.flush()


def streamed(read: Any, steps: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """A prediction after each step; every series of a table is a row of its own."""
    row = None
    for each in steps:
        if (own := (getattr(each, "name", ""), getattr(each, "number", 0))) != row:
            read.reset()
            row = own
        yield read([each])[0]
