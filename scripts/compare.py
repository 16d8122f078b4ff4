"""Compare runs: which setting is better, and how sure is that?

python scripts/compare.py runs/<sweep> 'runs/2026-*' metric=test/macro_f1
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("compare")
