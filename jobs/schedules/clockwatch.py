"""The clock's alarm: slots follow the database's clock, and clocks can be set wrong.

Each turn compares how far the database's clock went with a clock of the machine that nobody sets. A step
is logged as an error and kept as a ClockStep, for doctor and admin. What it does to schedules:

- back: slots that were decided about are not decided again until the clock passes them. Where pointers lie
  far ahead, because the clock was far ahead for a while, they are brought back to the present; a slot that
  has a job keeps its one job, by its key.
- far forward: ticks wait for a while, for somebody to set the clock right; then the new time is taken as true.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable

from jobs.models import ClockStep, Schedule

log = logging.getLogger("jobs.schedules")

BACK_S = 2.0
"""A step back by more raises the alarm; NTP slews smaller ones."""

FORWARD_S = 60.0
FAR_S = 3600.0
"""A step forward by more than the first raises the alarm, by more than the second makes ticks wait."""

HOLD_S = 60.0
"""How long they wait. Longer than time synchronisation takes after a machine has started."""

AHEAD = dt.timedelta(seconds=60)
"""A pointer further ahead of the present than this is brought back."""

LOOK_EVERY_S = 60.0
STEPS_KEPT = 100


class ClockWatch:
    """One scheduler's view of the clock."""

    def __init__(self, name: str, steady_s: Callable[[], float] | None = None) -> None:
        self._name = name
        self._steady_s = steady_s or _steady_s
        self._last: tuple[dt.datetime, float] | None = None
        self._held_until_s = self._looked_at_s = float("-inf")

    def may_tick(self, now: dt.datetime) -> bool:
        """Compare the clocks; False while a step far forward is waited out."""
        steady_s = self._steady_s()
        step_s = self._step_s(now, steady_s)
        self._last = (now, steady_s)
        if step_s < -BACK_S or step_s > FORWARD_S:
            self._alarm(step_s)
            self._looked_at_s = float("-inf")
            self._held_until_s = steady_s + HOLD_S if step_s > FAR_S else float("-inf")
        if steady_s < self._held_until_s:
            return False
        if steady_s - self._looked_at_s >= LOOK_EVERY_S:
            self._looked_at_s = steady_s
            bring_back(now)
        return True

    def _step_s(self, now: dt.datetime, steady_s: float) -> float:
        if self._last is None:
            return 0.0
        before, steady_before_s = self._last
        return (now - before).total_seconds() - (steady_s - steady_before_s)

    def _alarm(self, step_s: float) -> None:
        log.error(
            "the database's clock stepped %s by %.1f s: look after its time synchronisation",
            "back" if step_s < 0 else "forward",
            abs(step_s),
        )
        ClockStep.objects.create(step_s=step_s, noticed_by=self._name[:150])
        old = ClockStep.objects.values_list("pk", flat=True)[STEPS_KEPT:]
        ClockStep.objects.filter(pk__in=list(old)).delete()


def bring_back(now: dt.datetime) -> int:
    """Bring pointers that lie far ahead of the present back to it; how many there were."""
    ahead = Schedule.objects.filter(enabled=True, pointer__gt=now + AHEAD)
    count = ahead.update(pointer=now, due_at=None)
    if count:
        log.error("%d schedules were ahead of the database's clock and go on from the present", count)
    return count


def _steady_s() -> float:
    """Goes on while the machine sleeps, where there is such a clock: waking up is no step."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
