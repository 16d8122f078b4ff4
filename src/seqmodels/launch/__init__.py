"""From a command line to a run, or to a sweep of many."""
