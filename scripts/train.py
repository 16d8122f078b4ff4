"""Train a model, or a sweep of many.

python scripts/train.py model.head=last_hidden
"""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from seqmodels.launch.command_line import composed


@composed("train")
def main(config: DictConfig) -> None:
    settings = HydraConfig.get()
    overrides = list(settings.overrides.task)
    if settings.mode == RunMode.MULTIRUN:
        from seqmodels.launch.job import run_job

        run_job(config, overrides)
        return
    from seqmodels.heads import find_head
    from seqmodels.imports import import_modules

    import_modules(config.imports)
    find_head(config.model.head)  # now, because the next import is slow
    from seqmodels.launch.given import given_values
    from seqmodels.runs import train

    train(config, overrides, given_values(config, overrides) if config.resume else None)


if __name__ == "__main__":
    main()
