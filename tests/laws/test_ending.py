"""How an attempt ends: the one pure function, over all that may come together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.lifecycle import TRANSITIONS, YIELDS_TO_CANCEL, Budget, Doubt, End, Event, Status, ending, events_for
from tests.support import lives

counts = st.integers(0, 5)
allowances = st.integers(1, 5)
budgets = st.builds(Budget, counts, allowances, counts, allowances)
everything = given(st.sampled_from(lives.ENDS), budgets, st.sampled_from(Doubt), st.booleans())


@everything
def test_the_order_is_doubt_succeed_abort_fail_then_the_rest(
    end: End, budget: Budget, doubt: Doubt, is_asked: bool
) -> None:
    event = ending(end, budget, doubt, is_cancel_requested=is_asked)
    if doubt is Doubt.HELD:
        assert event is Event.DOUBT
    elif end is End.RETURNED and doubt is Doubt.NONE:
        assert event is Event.SUCCEED
    elif is_asked:
        assert event is Event.ABORT
    elif end is End.PERMANENT:
        assert event is Event.FAIL
    elif end is End.RELEASED:
        assert event is Event.RELEASE
    elif end is End.DIED:
        assert event is (Event.FAIL if budget.crashes + 1 >= budget.crashes_allowed else Event.EXPIRE)
    else:
        assert event is (Event.FAIL if budget.failures + 1 >= budget.failures_allowed else Event.RETRY)


@everything
def test_whatever_ended_an_attempt_is_legal_for_a_running_job(
    end: End, budget: Budget, doubt: Doubt, is_asked: bool
) -> None:
    assert Status.RUNNING in TRANSITIONS[ending(end, budget, doubt, is_cancel_requested=is_asked)].sources


@everything
def test_only_endings_that_yield_to_a_cancel_differ_by_it(
    end: End, budget: Budget, doubt: Doubt, is_asked: bool
) -> None:
    without = ending(end, budget, doubt, is_cancel_requested=False)
    expected = Event.ABORT if without in YIELDS_TO_CANCEL else without
    assert ending(end, budget, doubt, is_cancel_requested=True) is expected


@everything
def test_a_release_never_fails_a_job(end: End, budget: Budget, doubt: Doubt, is_asked: bool) -> None:
    assert ending(End.RELEASED, budget, doubt, is_cancel_requested=is_asked) is not Event.FAIL


@given(st.sampled_from(Status))
def test_the_events_of_a_status_are_those_of_the_table(status: Status) -> None:
    from jobs.lifecycle import Actor

    for actor in Actor:
        assert events_for(status, actor) == [
            event for event, row in TRANSITIONS.items() if status in row.sources and actor in row.actors
        ]
