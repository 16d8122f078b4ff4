"""Continue a prompt with a language model.

python scripts/generate.py run=runs/<folder> prompt="def" length=400
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("generate")
