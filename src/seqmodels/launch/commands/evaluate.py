"""Evaluate a finished run.

python scripts/evaluate.py run=runs/<folder> split=validation
"""

from types import SimpleNamespace

from seqmodels.launch.command_line import command, named_run


@command("evaluate")
def main(config: SimpleNamespace) -> None:
    from seqmodels.runs.report import metrics_table
    from seqmodels.screen import Screen

    run = named_run(config)
    metrics = run.evaluate(
        config.split,
        config.file,
        config.accelerator,
        dynamic=config.dynamic,
        dynamic_learning_rate=config.dynamic_learning_rate,
        dynamic_decay=config.dynamic_decay,
    )
    title = f"{config.run} on {config.file or config.split}"
    title += ", dynamic evaluation" if config.dynamic else ""
    Screen().print(metrics_table(metrics, title))


if __name__ == "__main__":
    main()
