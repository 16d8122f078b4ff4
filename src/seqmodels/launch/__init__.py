"""Read a command line and start a run, or a sweep of many runs."""
