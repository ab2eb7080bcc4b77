"""``python -m berrymq``: the command line, the same as the installed script ``berrymq``."""

import sys

from berrymq.bridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
