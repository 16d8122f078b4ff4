"""Compare runs: which setting is better, and how sure is that?

python scripts/compare.py runs/<sweep> 'runs/2026-*' metric=test/macro_f1
"""

from seqmodels.launch.commands.compare import main

if __name__ == "__main__":
    main()
