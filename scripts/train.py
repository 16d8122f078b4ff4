"""Train a model, or a sweep of many.

python scripts/train.py model.head=last_hidden
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("train")
