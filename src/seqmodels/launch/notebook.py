"""Compose a configuration in a notebook: `train(compose("model.head=max_pool"))`."""

from __future__ import annotations

from typing import Any

import hydra
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from seqmodels.launch.command_line import SHIPPED, mistake
from seqmodels.launch.hydra_setup import for_resume, prepare_hydra


def compose(*overrides: str) -> DictConfig:
    """What `python scripts/train.py` would train with. It leaves no state of Hydra.

    Args:
        overrides: the words of the command line, such as `model.head=max_pool`.

    Raises:
        UserError: for a key or a file that does not exist, with what was probably meant.
    """
    prepare_hydra()
    words, yours = for_resume(overrides), (GlobalHydra.instance().hydra, HydraConfig.instance().cfg)
    GlobalHydra.instance().clear()  # it composes for one program at a time
    HydraConfig.instance().cfg = None
    try:
        with initialize_config_dir(str(SHIPPED), version_base="1.3", job_name="train"):
            whole = hydra.compose("train", words, return_hydra_config=True)
            folder = whole.folder  # named once
    except Exception as error:  # Hydra raises many kinds
        raise mistake(error, overrides, "train") from error
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = yours
    plain: Any = OmegaConf.to_container(whole, resolve=False)
    del plain["hydra"]
    plain["folder"] = folder
    return OmegaConf.create(plain)
