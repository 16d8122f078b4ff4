"""Train a model, or a sweep of many.

python scripts/train.py model.head=last_hidden
"""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

from seqmodels.launch.command_line import composed, importing
from seqmodels.launch.plan import as_typed


@composed("train")
def main(config: DictConfig) -> None:
    settings: Any = HydraConfig.get()
    overrides = as_typed(settings.overrides.task)
    if settings.mode == RunMode.MULTIRUN:
        if (trial := settings.sweeper.get("trial")) is not None:
            from seqmodels.launch.search import run_trial

            run_trial(trial)
            return
        from seqmodels.launch.job import run_job

        run_job(config, overrides)
        return
    from seqmodels.launch.checks import check_settings

    if config.resume is None:  # else it is checked with what the folder has
        check_settings(config, overrides, "train")
    folder = config.folder = config.folder
    with read_write(settings):
        # which Lightning gives to the processes that it starts
        settings.run.dir = config.resume or folder
    with importing():
        from seqmodels.runs import train

    train(config, overrides)


if __name__ == "__main__":
    main()
