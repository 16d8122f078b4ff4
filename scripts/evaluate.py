"""Measures a finished run again: `python scripts/evaluate.py run=<folder> split=validation`."""

import hydra
from omegaconf import DictConfig

from seqmodels.launch.command_line import readable_errors


@readable_errors()
@hydra.main(version_base="1.3", config_path="../configs", config_name="evaluate")
@readable_errors()
def main(config: DictConfig) -> None:
    run_folder = config.run  # an absent one is found before slow imports
    from rich import print

    from seqmodels.imports import import_modules
    from seqmodels.runs import load_run
    from seqmodels.runs.table import metrics_table

    import_modules(config.imports)
    run = load_run(
        run_folder,
        config.checkpoint,
        batch_size=config.batch_size,
        allowed_targets=config.allowed_targets,
    )
    metrics = run.evaluate(
        config.split,
        config.file,
        config.accelerator,
        dynamic=config.dynamic,
        dynamic_learning_rate=config.dynamic_learning_rate,
        dynamic_decay=config.dynamic_decay,
    )
    how = ", learning on" if config.dynamic else ""
    print(metrics_table(metrics, f"{run_folder} on {config.file or config.split}{how}"))


if __name__ == "__main__":
    main()
