"""How many claims a horse may hold: one a thread, more while handlers are quick, and one again where they are not."""

from __future__ import annotations

import pytest

from jobs.window import EXPECTED_S, HEAVY, LARGEST, WARM_UP, Window

QUICK_S, SLOW_S = 1e-5, 0.5


def full_turns(window: Window, count: int, run_s: float = QUICK_S) -> list[int]:
    """The window's size after each of so many turns in which all that may be claimed ended."""
    sizes = []
    for _ in range(count):
        window.observe([run_s] * window.size, window.size)
        sizes.append(window.size)
    return sizes


@pytest.mark.parametrize("threads", [1, 10, 50])
def test_after_enough_quick_turns_it_doubles_up_to_its_largest_size(threads: int) -> None:
    sizes = full_turns(Window(threads), WARM_UP + 10)
    assert sizes[:WARM_UP] == [threads] * WARM_UP
    assert sizes[WARM_UP] == min(2 * threads, LARGEST)
    assert sizes[-1] == LARGEST


def test_more_threads_than_that_stay_one_claim_each() -> None:
    many = LARGEST + 100
    assert set(full_turns(Window(many), 30)) == {many}


def test_it_grows_no_further_than_the_last_job_is_expected_to_wait() -> None:
    run_s = 4 * EXPECTED_S / 20  # four for each of ten threads, then half of what may be
    sizes = full_turns(Window(10), 50, run_s)
    assert max(sizes) * run_s / 10 <= EXPECTED_S < 2 * max(sizes) * run_s / 10


def test_it_shrinks_while_there_is_much_in_payloads_and_results() -> None:
    window = Window(10)
    full_turns(window, 30)
    window.observe([QUICK_S] * LARGEST, LARGEST, HEAVY + 1)
    assert window.size == LARGEST // 2
    for _ in range(30):
        window.observe([QUICK_S] * window.size, window.size, HEAVY // 2 + 1)
    assert window.size == LARGEST // 2


def test_slow_handlers_get_one_claim_a_thread_however_many_turns() -> None:
    assert set(full_turns(Window(1), 50, SLOW_S)) == {1}


def test_one_that_is_left_running_takes_no_part_and_many_close_it() -> None:
    window = Window(10)
    full_turns(window, 30)
    window.observe([QUICK_S] * (LARGEST - 9), LARGEST)
    assert window.size == LARGEST
    window.observe([QUICK_S] * 3, LARGEST)
    assert window.size == 10


def test_it_shrinks_with_what_there_is_to_do() -> None:
    window = Window(10)
    full_turns(window, 30)
    window.observe([QUICK_S] * 20, 20)
    assert window.size == 40
    window.observe([], 0)
    assert window.size == 10


def test_after_a_release_it_is_one_a_thread_and_stays_so_for_a_while() -> None:
    window = Window(10)
    full_turns(window, 30)
    window.close()
    assert set(full_turns(window, 30)) == {10}
