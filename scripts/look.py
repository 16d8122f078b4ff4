"""Look at a file: what it is, what its columns are, and which command trains on it.

python scripts/look.py my.csv
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("look")
