"""What `new_project.py` does to the template's files; only needs Python's standard library."""
