"""Show which tensor feeds what, without training.

python scripts/explain.py model.head=bidirectional_concat model.encoder.num_layers=2
"""

from seqmodels.launch.commands.explain import main

if __name__ == "__main__":
    main()
