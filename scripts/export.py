"""Export a finished run: an ONNX graph that runs without PyTorch, or its weights alone.

python scripts/export.py run=runs/<folder>
"""

from seqmodels.launch.commands.export import main

if __name__ == "__main__":
    main()
