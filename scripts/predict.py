"""Labels for new inputs, a JSON line each: `python scripts/predict.py run=<folder> input=-`."""

import json
import sys

import hydra
from omegaconf import DictConfig

from seqmodels.launch.command_line import readable_errors


@readable_errors()
@hydra.main(version_base="1.3", config_path="../configs", config_name="predict")
@readable_errors()
def main(config: DictConfig) -> None:
    run_folder, source = config.run, config.input  # absent ones are found before slow imports
    from rich.console import Console
    from rich.progress import track

    from seqmodels.imports import import_modules
    from seqmodels.runs import load_run

    import_modules(config.imports)
    run = load_run(
        run_folder,
        config.checkpoint,
        batch_size=config.batch_size,
        allowed_targets=config.allowed_targets,
    )
    _, data = run.classifier
    inputs = (raw for raw, _ in data.read_file(source))
    predictions = run.predict(inputs, source, config.accelerator)
    screen = Console(stderr=True)
    for prediction in track(
        predictions, "predicting", console=screen, disable=not screen.is_terminal, transient=True
    ):
        sys.stdout.write(json.dumps(prediction, ensure_ascii=False) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
