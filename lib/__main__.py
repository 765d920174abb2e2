"""`python -m lib`: run, list, resume, compare, transfer, export and clean."""

import sys

from lib.cli import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):  # a name that a terminal cannot show is spelled out
        stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
