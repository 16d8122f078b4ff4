"""Predict for new inputs: one JSON line per input, or, on a terminal, words in colours of tags.

python scripts/predict.py run=runs/<folder> input=new.csv > predictions.jsonl
python scripts/predict.py run=runs/<folder> split=test  # into a file, beside what was true
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

from seqmodels.launch.command_line import command, named_run

if TYPE_CHECKING:
    from seqmodels.runs import Run

WRITING = ("beam", "best", "unknown")  # options of models that write texts


@command("predict")
def main(config: SimpleNamespace) -> None:
    from rich.progress import track

    from seqmodels.errors import UserError
    from seqmodels.screen import Screen, visible

    if (config.input is None) == (config.split is None):
        raise UserError(
            "name what to predict for: input=<file>, or split=test for the run's own data"
        )
    run = named_run(config)
    if config.split:
        _backtest(run, config)
        return
    inputs = run.data.read_inputs(config.input)
    options = {name: value for name in WRITING if (value := getattr(config, name))}
    predictions = run.predict(inputs, config.input, config.accelerator, **options)
    screen = Screen(stderr=True)
    terminal = sys.stdout.isatty()  # which shows the predictions themselves
    show = run.task.contract.kind.show if terminal else None
    lines_of = show() if show else lambda prediction: ()
    hidden = terminal or not screen.is_terminal
    shown = track(predictions, "predicting", console=screen, disable=hidden, transient=True)
    for number, prediction in enumerate(shown, start=1):
        if lines := [*lines_of(prediction)]:
            for text in lines:
                Screen().print(text)
            continue
        try:
            line = json.dumps(prediction, ensure_ascii=False, allow_nan=False)
        except ValueError as error:  # nan or infinity, which JSON does not have
            raise UserError(
                f"{config.input}: the prediction for input {number} is not a number: "
                "are its values very large?"
            ) from error
        sys.stdout.write(visible(line) + "\n")
        sys.stdout.flush()


def _backtest(run: Run, config: SimpleNamespace) -> None:
    from seqmodels.callbacks.predictions import Predictions
    from seqmodels.errors import UserError
    from seqmodels.runs.report import file_of
    from seqmodels.screen import Screen

    for name in WRITING:
        if value := getattr(config, name):
            raise UserError(f"{name}={value} is for input=<file>: leave it out")
    rows = Predictions()
    rows.name = file_of(rows.name, config.split)
    run.evaluate(config.split, accelerator=config.accelerator, callbacks=[rows])
    Screen().print(str(run.folder / rows.name), soft_wrap=True)
