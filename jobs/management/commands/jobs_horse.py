"""The process in which a worker's handlers run. Started by `rqworker`; not for people."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from argparse import ArgumentParser
from typing import Any

from jobs import process
from jobs.database import be_brief
from jobs.grant import channel_of
from jobs.horse import Horse
from jobs.management.base import Lasting


class Command(Lasting):
    help = "The process that runs handlers: started by `manage.py rqworker`, not by hand."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--lease", type=uuid.UUID, required=True)
        parser.add_argument("--worker", required=True)
        parser.add_argument("--parent", type=int, required=True)
        parser.add_argument("--concurrency", type=int, required=True)
        parser.add_argument("--queues", nargs="+", required=True)
        parser.add_argument("--burst", action="store_true")
        parser.add_argument("--max-jobs", type=int, default=0)
        parser.add_argument("--max-idle", type=float, default=0.0)
        parser.add_argument("--quiet", type=float, default=0.0)
        parser.add_argument("--only", type=uuid.UUID)
        parser.add_argument("--channel", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        process.die_with_parent(options["parent"])
        process.reset_signals()
        os.environ[process.MARK] = str(options["lease"])
        process.allow_blocking_in_event_loops()
        horse = Horse(
            lease_id=options["lease"],
            worker=options["worker"],
            queue_names=options["queues"],
            concurrency=options["concurrency"],
            is_burst=options["burst"],
            max_jobs=options["max_jobs"],
            max_idle_s=options["max_idle"],
            quiet_s=options["quiet"],
            only=options["only"],
            channel=channel_of(options["channel"]),
        )
        process.spare_the_collector()
        be_brief()
        signal.signal(signal.SIGTERM, horse.stop)
        process.default_in_forks()
        horse.work()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # handler threads and isolated attempts are over; nothing waits for daemons
