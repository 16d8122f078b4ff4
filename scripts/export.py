"""Export a finished run as an ONNX graph that runs without PyTorch.

python scripts/export.py run=runs/<folder>
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("export")
