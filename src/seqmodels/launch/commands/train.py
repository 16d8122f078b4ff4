"""Train a model, or a sweep of many.

python scripts/train.py model.head=last_hidden
"""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from seqmodels.launch.command_line import composed
from seqmodels.launch.plan import as_written


@composed("train")
def main(config: DictConfig) -> None:
    settings = HydraConfig.get()
    overrides = as_written(settings.overrides.task)
    if settings.mode == RunMode.MULTIRUN:
        from seqmodels.launch.job import run_job

        run_job(config, overrides)
        return
    from seqmodels.launch.checks import check_settings
    from seqmodels.launch.given import given_values
    from seqmodels.runs.folder import RunFolder

    try:
        check_settings(config, overrides, "train")
        from seqmodels.runs import train

        train(config, overrides, given_values(config, overrides) if config.resume else None)
    finally:
        RunFolder(Path(settings.runtime.output_dir)).discard_if_unused()
        if Path(config.folder, "train.log").exists():
            RunFolder(Path(config.folder)).discard_if_unused()


if __name__ == "__main__":
    main()
