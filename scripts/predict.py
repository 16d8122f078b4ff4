"""Predict labels for new inputs: one JSON line per input.

python scripts/predict.py run=runs/<folder> input=new.csv > predictions.jsonl
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("predict")
