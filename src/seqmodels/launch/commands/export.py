"""Export a finished run: an ONNX graph that runs without PyTorch, or its weights alone.

python scripts/export.py run=runs/<folder>
"""

from types import SimpleNamespace

from seqmodels.launch.command_line import command, named_run


@command("export")
def main(config: SimpleNamespace) -> None:
    run = named_run(config)
    folder = run.export(config.format, config.output, quantize=config.quantize, hub=config.hub)
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size:,} bytes")
    if config.quantize:
        print((folder / "int8.json").read_text(), end="")
