"""Train a model, or a sweep of many.

python scripts/train.py model.head=last_hidden
"""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

from seqmodels.launch.composed import composed
from seqmodels.launch.hydra_setup import as_typed


@composed("train")
def main(config: DictConfig) -> None:
    settings: Any = HydraConfig.get()
    overrides = as_typed(settings.overrides.task)
    if settings.mode == RunMode.MULTIRUN:
        from seqmodels.launch.sweep import run_job

        run_job(config, overrides)
        return
    folder = config.folder = config.folder
    with read_write(settings):
        # which Lightning gives to the processes that it starts
        settings.run.dir = config.resume or folder
    from seqmodels.runs import train

    train(config, overrides)


if __name__ == "__main__":
    main()
