"""Find mistakes with recurrent networks in source code, without running it.

python scripts/lint.py my_package train.py
"""

from seqmodels.launch.commands.lint import main

if __name__ == "__main__":
    main()
