"""Evaluate a finished run.

python scripts/evaluate.py run=runs/<folder> split=validation
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("evaluate")
