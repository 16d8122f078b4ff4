"""Evaluate a finished run.

python scripts/evaluate.py run=runs/<folder> split=validation
"""

import logging
import os
from types import SimpleNamespace

from seqmodels.launch.command_line import command, named_run

log = logging.getLogger(__name__)


@command("evaluate")
def main(config: SimpleNamespace) -> None:
    from seqmodels.callbacks.predictions import Predictions
    from seqmodels.callbacks.scores import Scores
    from seqmodels.runs.report import file_of, metrics_table, tables_of_test
    from seqmodels.screen import Screen

    run = named_run(config)
    split = "file" if config.file else config.split
    writers: list[Predictions | Scores] = [Predictions(), Scores()]
    for writer in writers:
        writer.name = file_of(writer.name, split)
    written = config.predictions and not config.dynamic
    if written and not os.access(run.folder, os.W_OK):
        names = " and ".join(writer.name for writer in writers)
        log.warning(f"{run.folder} cannot be written to: {names} are left out")
        written = False
    metrics = run.evaluate(
        config.split,
        config.file,
        config.accelerator,
        dynamic=config.dynamic,
        dynamic_learning_rate=config.dynamic_learning_rate,
        dynamic_decay=config.dynamic_decay,
        callbacks=writers if written else [],
    )
    title = f"{config.run} on {config.file or config.split}"
    title += ", dynamic evaluation" if config.dynamic else ""
    Screen().print(metrics_table(metrics, title))
    for table in tables_of_test(run.folder, split) if written else ():
        Screen().print(table)
