"""Make a project of your own from this template. Needs Python and git; nothing to install.

python scripts/new_project.py wind_forecast ../wind_forecast --without language_model
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from seqmodels.launch.forking.new_project import main

if __name__ == "__main__":
    main()
