import sys

from lib.lab.server import main

if __name__ == "__main__":
    sys.exit(main())
