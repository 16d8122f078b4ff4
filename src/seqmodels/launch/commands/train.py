"""Train a model, or a sweep of many.

python scripts/train.py model.head=last_hidden
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seqmodels.launch.command_line import composed, importing
from seqmodels.launch.config_files import model_of
from seqmodels.launch.hydra_setup import as_typed
from seqmodels.plain_values import flattened

NO_CHANGE = ("resume=", "folder=", "imports=", "local=", "~local")

FILES = {"optimizer", "scheduler"}  # groups whose files give `model.optimizer`, `model.scheduler`


@composed("train")
def main(config: DictConfig) -> None:
    settings = HydraConfig.get()
    own = model_of(config.resume)
    overrides = [word for word in as_typed(settings.overrides.task) if word not in own]
    if settings.mode == RunMode.MULTIRUN:
        from seqmodels.launch.sweep import run_job

        run_job(config, overrides)
        return
    from seqmodels.launch.checks import check_settings
    from seqmodels.runs.folder import RunFolder

    try:
        check_settings(config, overrides, "train")
        with importing():
            from seqmodels.runs import train

        train(config, overrides, given_values(config, overrides) if config.resume else None)
    finally:
        RunFolder(Path(settings.runtime.output_dir)).discard_if_unused()
        folder = Path(str(config.folder))  # it may be no text, which is an error then
        if (folder / "train.log").exists():
            RunFolder(folder).discard_if_unused()


def given_values(config: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what `overrides` change, by dotted key, a chosen file such as `trainer=cpu` included;
    `~key` for one that they remove.

    What the machine's own file says, `local`, is a default like the others. A value that only
    follows another, such as `${model.optimizer.lr}`, is not among the changes: which values follow
    it, and how, is for the run to resume.

    Args:
        config: composed by Hydra with these overrides; Hydra is still running.
        overrides: the words of the command line.
    """
    kept = [*model_of(config.resume), *(o for o in overrides if o.startswith(NO_CHANGE))]
    defaults = flattened(OmegaConf.to_container(compose("train", kept), resolve=False))
    written = flattened(OmegaConf.to_container(config, resolve=False))
    values = flattened(OmegaConf.to_container(config, resolve=True))
    named = {override.lstrip("+").partition("=")[0] for override in overrides}
    # a chosen file may hold the defaults, where the run to resume has something else
    named |= {k for k in values if k.startswith("model.") and k.split(".")[1] in named & FILES}
    removed = [o.partition("=")[0] for o in overrides if o.startswith("~") and o not in kept]
    named |= {k for k, v in written.items() if k not in defaults or defaults[k] != v}
    return {k: v for k, v in values.items() if k in named} | dict.fromkeys(removed)


if __name__ == "__main__":
    main()
