from __future__ import annotations

from seqmodels.arguments import Name
from seqmodels.launch.command_line import Checkpoint, Names, command, named_run


@command
def main(
    run: Name,
    *,
    output: Name | None = None,
    stream: bool = False,
    checkpoint: Checkpoint = "best",
    imports: Names = (),
    allowed_targets: Names = (),
) -> None:
    """Export a finished run as an ONNX graph that runs without PyTorch.

    python scripts/export.py run=runs/<folder>

    Args:
        run: the run folder.
        output: the folder to write to; null: export in the run folder.
        stream: carry the state from call to call: for a row that arrives some steps at a time.
    """
    finished = named_run(run, checkpoint, imports, allowed_targets)
    folder = finished.export(output, stream=stream)
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size:,} bytes")
