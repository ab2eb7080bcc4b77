"""``python -m berrymq``: the command line."""

import sys

from berrymq.bridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
