"""long.py MODULE: submit one job that takes long. What such a job does stands here, for all of them."""

import importlib
import os
import sys
import time

SECONDS = 600


def rest():
    """One line in a file tells of each start, whatever becomes of it."""
    with open(os.environ["STARTS"], "a") as starts:
        starts.write("started\n")
    time.sleep(SECONDS)


if __name__ == "__main__":
    importlib.import_module(sys.argv[1]).submit_long()
