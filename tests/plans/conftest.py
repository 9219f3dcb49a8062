"""Each question asked once of a small and once of a large database; the tests compare."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command

from jobs import leader, owner
from jobs.models import Job
from jobs.reconcile import Housekeeper
from tests.plans.cost import Cost, measure
from tests.plans.hot import GROUP, questions
from tests.support import world
from tests.support.crowd import Crowd

SIZES = (4_000, 32_000)


@pytest.fixture(scope="package")
def costs(broker_server: None, django_db_setup: None, django_db_blocker: Any) -> dict[str, tuple[Cost, Cost]]:
    """By the name of the question: what it costs with few jobs, and what with many."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(leader, "KEEP_EVERY_S", 3600)  # what is asked once in a while must not come in between
        patch.setattr(owner, "READ_EVERY_S", 3600)
        owner.note("")
        small, large = (_ask_all(size) for size in SIZES)
    return {name: (small[name], large[name]) for name in small}


def _ask_all(size: int) -> dict[str, Cost]:
    world.wipe()
    try:
        crowd = Crowd(size)
        asked = questions(crowd)
        Housekeeper("plans").turn(is_forced=True, is_thorough=True)  # what is queued is in Redis' lists
        Job.objects.filter(pk__in=crowd.some("scheduled", GROUP)).update(run_after=crowd.now)
        return {name: measure(ask) for name, ask in asked.items()}
    finally:
        call_command("flush", verbosity=0, interactive=False)
