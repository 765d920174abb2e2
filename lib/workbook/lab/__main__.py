import sys

from lib.workbook.lab.server import main

if __name__ == "__main__":
    sys.exit(main())
