"""docs/decisions/: what they list is what the code does."""

from __future__ import annotations

import re

from rq.worker.base import BaseWorker

from jobs.worker import Worker
from tests.docs.pages import ROOT


def test_what_of_rqs_worker_is_overridden_is_listed():
    page = (ROOT / "docs" / "decisions" / "0003-what-of-rq-is-overridden.md").read_text()
    first_cells = re.findall(r"^\| ([^|]*`[^|]*) \|", page, re.M)
    listed = set(re.findall(r"`(\w+)`", " ".join(first_cells))) - {"BaseWorker"}
    overridden = {name for name in vars(Worker) if hasattr(BaseWorker, name) and callable(getattr(BaseWorker, name))}
    overridden |= {
        name for name in vars(Worker) if isinstance(vars(Worker)[name], property) and hasattr(BaseWorker, name)
    }
    assert listed == overridden
