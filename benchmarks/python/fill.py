"""fill.py MODULE JOBS: enqueue so many jobs, each carrying three short strings, the fastest way the product has."""

import importlib
import sys

module, jobs = sys.argv[1:]
importlib.import_module(module).fill(int(jobs))
