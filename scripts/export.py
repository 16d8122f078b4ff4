"""Export a finished run as an ONNX graph that runs without PyTorch.

python scripts/export.py run=runs/<folder>
"""

from seqmodels.launch.commands.export import main

if __name__ == "__main__":
    main()
