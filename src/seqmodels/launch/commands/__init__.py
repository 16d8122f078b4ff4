"""Commands: `seqmodels <name>` runs the module of that name, and so does `scripts/<name>.py`."""
