"""Make a project of your own from this template.

python scripts/new_project.py wind_forecast ../wind_forecast --without language_model
"""

from seqmodels.launch.forking.new_project import main

if __name__ == "__main__":
    main()
