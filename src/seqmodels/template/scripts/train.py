"""Train a model, or a sweep of many.

python scripts/train.py experiment=baseline
"""

from seqmodels.launch.commands.train import main

if __name__ == "__main__":
    main()
