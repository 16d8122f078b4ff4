"""Tab completion of the command: Hydra's, behind the name of the command that you typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from omegaconf import OmegaConf

from seqmodels.launch.config_files import SHIPPED
from seqmodels.plain_values import flattened


def complete(commands: Sequence[str]) -> None:
    """Answer `seqmodels -sc install=bash`, and the queries of the shell that follow.

    Args:
        commands: the names to complete.
    """
    query = next((word for word in sys.argv[1:] if word.startswith("query=")), None)
    line = os.environ.get("COMP_LINE", "").lstrip().partition(" ")[2].lstrip()
    command, space, _ = line.partition(" ")
    if query and not space:
        found = list(commands)
    elif query and "defaults" not in (keys := _keys(command)):
        found = [f"{key}=" for key in keys]
    else:  # Hydra composes it, or writes the shell's own part
        from seqmodels.launch.commands import explain, train

        os.environ["COMP_LINE"] = line  # the command is Hydra's program
        (explain if command == "explain" else train).main()
        return
    typed = line.rpartition(" ")[2]
    matching = [name for name in found if name.startswith(typed)]
    print(("\n" if query == "query=fish" else " ").join(matching))


def _keys(command: str) -> list[str]:
    file = SHIPPED / f"{command}.yaml"
    return list(flattened(OmegaConf.to_container(OmegaConf.load(file)))) if file.is_file() else []
