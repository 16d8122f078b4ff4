"""Show which tensor feeds what, without training.

python scripts/explain.py model.head=bidirectional_concat model.encoder.num_layers=2
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("explain")
