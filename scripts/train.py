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
    from seqmodels.launch.checks import check_head

    check_head(config)
    from seqmodels.launch.given import given_values
    from seqmodels.runs import train

    train(config, overrides, given_values(config, overrides) if config.resume else None)


if __name__ == "__main__":
    main()
