"""Export a finished run: an ONNX graph that runs without PyTorch, or its weights alone."""

from __future__ import annotations

from seqmodels.arguments import Name
from seqmodels.launch.command_line import Checkpoint, Names, command, named_run


@command
def main(
    run: Name,
    *,
    format: Name = "onnx",
    output: Name | None = None,
    checkpoint: Checkpoint = "best",
    imports: Names = (),
    allowed_targets: Names = (),
) -> None:
    """Export a finished run: an ONNX graph that runs without PyTorch, or its weights alone.

    python scripts/export.py run=runs/<folder>

    Args:
        run: the run folder.
        format: onnx, safetensors.
        output: the folder to write to; null: export/<format> in the run folder.
        checkpoint: best or last.
        imports: your modules that define the run's head; their code runs.
        allowed_targets: more classes that the run's configuration may name, if you trust them.
    """
    finished = named_run(run, checkpoint, imports, allowed_targets)
    folder = finished.export(format, output)
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size:,} bytes")
