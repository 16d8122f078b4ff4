"""Train a model, or a sweep of many.

python scripts/train.py model.head=last_hidden
"""

from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

from seqmodels.launch.composed import as_typed, check_defaults_kept, composed


def _multirun(*arguments: Any) -> None:
    from seqmodels.launch.sweep import multirun  # A single run needn't wait for it.

    multirun(*arguments)


@partial(composed, "train", multirun=_multirun)
def main(config: DictConfig) -> None:
    settings: Any = HydraConfig.get()
    overrides = as_typed(settings.overrides.task)
    is_in_sweep = settings.mode == RunMode.MULTIRUN
    check_defaults_kept(config, overrides)
    # Hydra has a folder for a job of a sweep, and where you give `hydra.run.dir`.
    has_hydra_folder = is_in_sweep or settings.run.dir != settings.runtime.cwd
    if has_hydra_folder:
        config.folder = settings.runtime.output_dir
    else:
        config.folder = config.folder  # named once
    if is_in_sweep:
        from seqmodels.launch.sweep import run_job

        run_job(config, overrides)
        return
    with read_write(settings):
        # Lightning gives it to the processes that it starts.
        settings.run.dir = config.resume or config.folder
    from seqmodels.runs import train

    train(config, overrides)


if __name__ == "__main__":
    main()
