from __future__ import annotations

from seqmodels.arguments import Count, Name
from seqmodels.launch.command_line import Accelerator, Checkpoint, Names, command, named_run


@command
def main(
    run: Name,
    *,
    split: Name = "test",
    file: Name | None = None,
    predictions: bool = True,
    checkpoint: Checkpoint = "best",
    batch_size: Count | None = None,
    labels: Name | None = None,
    accelerator: Accelerator = "auto",
    imports: Names = (),
    allowed_targets: Names = (),
) -> None:
    """Evaluate a finished run.

    python scripts/evaluate.py run=runs/<folder> split=validation

    Args:
        run: the run folder.
        split: train, validation or test.
        file: evaluate this file instead: labelled like the training file; plain text for a
            language model.
        labels: a second table with what is known of each series, in the place of data.labels of the
            training; for columns that the file lacks.
        predictions: write predictions.csv and scores.csv into the run folder, in
            evaluations/<split>_<checkpoint> or evaluations/<file>_<checkpoint>; a warning if they
            cannot be written.
    """
    import re

    from seqmodels.callbacks.predictions import Predictions
    from seqmodels.runs.folder import RunFolder
    from seqmodels.runs.report import metrics_table, tables_of_test
    from seqmodels.screen import Screen

    finished = named_run(
        run, checkpoint, imports, allowed_targets, batch_size=batch_size, labels=labels
    )
    name = re.sub(r"[^\w.-]+", "_", file or split)
    place = finished.folder / "evaluations" / f"{name}_{checkpoint}"
    if predictions:
        RunFolder(finished.folder).check_links()
    writer = Predictions(place)
    metrics = finished.evaluate(split, file, accelerator, callbacks=[writer] * predictions)
    Screen().print(metrics_table(metrics, f"{run} on {file or split}"))
    for table in tables_of_test(place, file or split) if writer.written else ():
        Screen().print(table)
