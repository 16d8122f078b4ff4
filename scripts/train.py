"""Trains a model: `python scripts/train.py model.head=last_hidden`."""

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from seqmodels.launch.command_line import readable_errors


@readable_errors()
@hydra.main(version_base="1.3", config_path="../configs", config_name="train")
@readable_errors()
def main(config: DictConfig) -> None:
    settings = HydraConfig.get()
    overrides = list(settings.overrides.task)
    if settings.mode == RunMode.MULTIRUN:
        from seqmodels.launch.sweep import run_job

        run_job(config, overrides)
        return
    from seqmodels.heads import find_head  # so that a wrong name is found before slow imports
    from seqmodels.imports import import_modules

    import_modules(config.imports)
    find_head(config.model.head)
    from seqmodels.runs import train

    train(config, overrides)


if __name__ == "__main__":
    main()
