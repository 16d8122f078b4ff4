"""Check any model for mistakes with tensors.

python scripts/audit.py target=my_package.module:build_model input.features=12
"""

from seqmodels.launch.commands.audit import main

if __name__ == "__main__":
    main()
