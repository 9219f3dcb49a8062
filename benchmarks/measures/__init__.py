"""One module a measure. `MEASURES` maps the name on the command line to it."""

from __future__ import annotations

from benchmarks.measures import accept, drain, growth, idle, latency, pipeline, recovery, status
from benchmarks.measures.base import Measure

MEASURES: dict[str, Measure] = {
    "accept": accept.ACCEPT,
    "drain": drain.DRAIN,
    "status": status.STATUS,
    "pipeline": pipeline.PIPELINE,
    "latency": latency.LATENCY,
    "idle": idle.IDLE,
    "recovery": recovery.RECOVERY,
    "growth": growth.up_to(growth.SIZES[-1]),
}
