"""Share an export: a model card beside it, and all of it in a folder or on the Hugging Face Hub."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqmodels.errors import UserError, one_line
from seqmodels.files import write_text


def publish(folder: Path, hub: str, result: Mapping[str, Any], diagram: Path) -> None:
    """Writes a model card into the folder of an export, and copies the folder.

    Args:
        hub: where to: a folder, if it exists or begins with `.`, `/` or `~`; otherwise a
            repository on the Hub, `user/name`, which is made, private, if it is not there.
        result: of the run.
        diagram: the drawing of which tensor feeds the head, if the run has one.

    Raises:
        UserError: for a folder or a repository that cannot be written to.
    """
    # a link, in a folder that may be a stranger's, could publish any of your files
    if drawn := diagram.is_file() and not diagram.is_symlink():
        shutil.copy(diagram, folder / "dataflow.svg")
    write_text(folder / "README.md", card(result, drawn=drawn))
    try:
        if hub.startswith((".", "/", "~")) or Path(hub).is_dir():
            shutil.copytree(folder, Path(hub).expanduser(), dirs_exist_ok=True)
            return
        from huggingface_hub import HfApi  # takes a moment

        HfApi().create_repo(hub, private=True, exist_ok=True)
        HfApi().upload_folder(repo_id=hub, folder_path=folder)
    except (OSError, ValueError) as error:  # those of the Hub derive from them
        raise UserError(
            f"hub={hub} cannot be written ({one_line(error)}): give a folder, or user/name of a "
            "repository that `hf auth login` lets you write to"
        ) from error


def card(result: Mapping[str, Any], *, drawn: bool) -> str:
    """The model card of a run: metadata for the Hub, which tensor is read, and the metrics."""
    from huggingface_hub import EvalResult, ModelCardData

    task, data, head = result["task"], result["data"], result["head"]
    measured = sorted(result["metrics"].items())
    name, reads = f"{task} with {head} on {data}", " and ".join(f"`{r}`" for r in result["reads"])
    facts = ModelCardData(
        library_name="seqmodels",
        tags=[task, head],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type=data,
                dataset_name=data,
                metric_type=metric,
                metric_value=round(value, 6),
            )
            for metric, value in measured
            if metric.startswith("test/")
        ],
    )
    lines = [f"---\n{facts.to_yaml()}\n---\n\n# {name}\n\nThe head `{head}` reads {reads}.\n"]
    if drawn:
        lines.append("![Which tensor feeds the head](dataflow.svg)\n")
    lines += ["| metric | value |", "|---|---|"]
    lines += [f"| {metric} | {value:.4f} |" for metric, value in measured]
    lines.append(f"\nTrained on data with the fingerprint `{result.get('fingerprint')}`.\n")
    return "\n".join(lines)
