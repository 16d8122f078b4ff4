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
    from seqmodels.launch.sweep import multirun  # a single run needn't wait for it

    multirun(*arguments)


@partial(composed, "train", multirun=_multirun)
def main(config: DictConfig) -> None:
    settings: Any = HydraConfig.get()
    overrides, in_sweep = as_typed(settings.overrides.task), settings.mode == RunMode.MULTIRUN
    check_defaults_kept(config, overrides)
    # Hydra's folder, of a job of a sweep, or where you give `hydra.run.dir`
    own = in_sweep or settings.run.dir != settings.runtime.cwd
    config.folder = settings.runtime.output_dir if own else config.folder
    if in_sweep:
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
