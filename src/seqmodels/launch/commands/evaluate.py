"""Evaluate a finished run.

python scripts/evaluate.py run=runs/<folder> split=validation
"""

import os
from types import SimpleNamespace

from seqmodels.launch.command_line import command, named_run


@command("evaluate")
def main(config: SimpleNamespace) -> None:
    from seqmodels.callbacks.predictions import Predictions
    from seqmodels.runs.report import metrics_table
    from seqmodels.screen import Screen

    run, rows = named_run(config), Predictions()
    if (split := "file" if config.file else config.split) != "test":
        rows.name = f"predictions_{split}.csv"
    written = config.predictions and not config.dynamic and os.access(run.folder, os.W_OK)
    metrics = run.evaluate(
        config.split,
        config.file,
        config.accelerator,
        dynamic=config.dynamic,
        dynamic_learning_rate=config.dynamic_learning_rate,
        dynamic_decay=config.dynamic_decay,
        callbacks=[rows] if written else [],
    )
    title = f"{config.run} on {config.file or config.split}"
    title += ", dynamic evaluation" if config.dynamic else ""
    Screen().print(metrics_table(metrics, title))
    if written:
        Screen().print(f"each row: {run.folder / rows.name}", soft_wrap=True)


if __name__ == "__main__":
    main()
