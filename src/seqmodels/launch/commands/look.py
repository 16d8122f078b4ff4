from __future__ import annotations

from seqmodels.errors import UserError
from seqmodels.launch.command_line import command


@command
def main(*places: str) -> None:
    """Look at a file: what it is, what its columns are, and which command trains on it.

    python scripts/look.py my.csv

    Name a file, a table and a second one with a row for each series, or a folder of recordings. It
    trains nothing, and writes nothing but the cache, which the training then reads.
    """
    if not places:
        raise UserError("name a file: python scripts/look.py my.csv")
    from seqmodels.launch.looking import report

    for line in report(places):
        print(line)
