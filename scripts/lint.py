"""Find mistakes with recurrent networks in source code, without running it.

python scripts/lint.py my_package train.py
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("lint")
