"""Evaluate a finished run.

python scripts/evaluate.py run=runs/<folder> split=validation
"""

from seqmodels.launch.commands.evaluate import main

if __name__ == "__main__":
    main()
