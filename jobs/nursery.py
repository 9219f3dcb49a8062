"""Loaded by the forkserver that isolated attempts are forked from: Django, handlers, and its own end.

Importing this outside of a forkserver does nothing but set Django up.
"""

from __future__ import annotations

import os
import signal

import django

from jobs import streams
from jobs.process import allow_blocking_in_event_loops, die_with_parent

if horse := os.environ.get("NURSERY_OF_HORSE"):
    streams.outlast(1, 2)  # else a print into a pipe whose reader has died ends the attempt
    die_with_parent(int(horse))
    allow_blocking_in_event_loops()
    os.register_at_fork(after_in_child=lambda: die_with_parent(os.getppid()))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the horse decides, and its end is ours

django.setup()
