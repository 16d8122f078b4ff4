"""Check any model for mistakes with tensors.

python scripts/audit.py target=my_package.module:build_model input.features=12
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("audit")
