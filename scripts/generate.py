"""Continue a prompt with a language model.

python scripts/generate.py run=runs/<folder> prompt="def" length=400
"""

from seqmodels.launch.commands.generate import main

if __name__ == "__main__":
    main()
