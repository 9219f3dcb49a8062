"""What grows slower as the tables fill: ours with 10,000, 100,000 and 1,000,000 stored jobs side by side."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from benchmarks.admin import Admin
from benchmarks.load import fill, poll_each, post_for
from benchmarks.measures.base import Measure, fresh_site
from benchmarks.peers.base import Api, System
from benchmarks.peers.ours import OurSite
from benchmarks.services import NotMeasured
from benchmarks.stock import Stock
from benchmarks.stock import fill as fill_with_stock
from benchmarks.waiting import until

SIZES = (10_000, 100_000, 1_000_000)
QUICK_MOST = 100_000
TURNS = 5
PAGE_TURNS = 9
QUICK_TURNS = 1
WARM_UP_S = 1
ACCEPT_S = 3
DRAINED = 40_000
QUICK_DRAINED = 6_000
CONCURRENCY = 50
FIRST, LAST = 0.9, 0.1
POLL_S = 0.05
POLLED = 2_000
PAGES = 5


@dataclass
class Grown:
    """One size: its site, and what is asked of it."""

    site: OurSite
    api: Api
    admin: Admin
    stock: Stock
    unpolled: list[str]

    def accept(self, is_quick: bool) -> float:
        post_for(self.api, WARM_UP_S)
        return post_for(self.api, ACCEPT_S).per_second

    def drain(self, is_quick: bool) -> float:
        """Of a backlog of that many at the start; those who were accepted before are among them."""
        wanted = QUICK_DRAINED if is_quick else DRAINED
        if (missing := wanted - self._queued()) > 0:
            fill(self.api, missing)
        backlog = self._queued()
        worker = self.site.start_worker(CONCURRENCY)
        try:
            began, remained = self._await_queued(backlog * FIRST)
            ended, left = self._await_queued(backlog * LAST)
            self._await_queued(0)
        finally:
            self.site.processes.end(worker)
        return (remained - left) / (ended - began)

    def status(self, is_quick: bool) -> float:
        """Jobs that nobody asked for before: the database is asked."""
        asked, self.unpolled = self.unpolled[:POLLED], self.unpolled[POLLED:]
        return poll_each(self.api, asked).per_second

    def list_page(self, is_quick: bool) -> float:
        return self._page_ms("")

    def filtered_page(self, is_quick: bool) -> float:
        return self._page_ms("?status=failed")

    def search_id(self, is_quick: bool) -> float:
        return self._page_ms(f"?q={self.stock.id_of(self.stock.jobs // 2)}")

    def search_key(self, is_quick: bool) -> float:
        return self._page_ms(f"?q={self.site.key_of(self.stock.id_of(self.stock.jobs // 2))}")

    def _page_ms(self, query: str) -> float:
        return self.admin.page_ms(f"jobs/job/{query}", PAGES)

    def _queued(self) -> int:
        """By the index of queued jobs alone, which costs the same at any size of the table."""
        return self.site.store.number("SELECT count(*) FROM jobs_job WHERE status = 'queued' AND queue = 'default'")

    def _await_queued(self, most: float) -> tuple[float, int]:
        def look() -> tuple[float, int]:
            return time.monotonic(), self._queued()

        return until(look, lambda seen: seen[1] <= most, f"{most:.0f} queued jobs")


OPERATIONS: dict[str, Callable[[Grown, bool], float]] = {
    "accept (jobs/s)": Grown.accept,
    "drain (jobs/s)": Grown.drain,
    "status from the database (answers/s)": Grown.status,
    "admin list, first page (ms)": Grown.list_page,
    "admin list, one status (ms)": Grown.filtered_page,
    "admin search by id (ms)": Grown.search_id,
    "admin search by key (ms)": Grown.search_key,
}


@dataclass(frozen=True)
class Growth:
    """All sizes stand side by side and take turns at each operation, so that a busy minute meets all of them."""

    sizes: Sequence[int]

    @property
    def names(self) -> Sequence[str]:
        return [case(operation, size) for operation in OPERATIONS for size in self.sizes]

    def measured(self, system: System, is_quick: bool) -> Sequence[float | NotMeasured]:
        with ExitStack() as stack:
            grown = [_grown(stack, system, size) for size in self.sizes]
            return [figure for name in OPERATIONS for figure in _in_turns(name, grown, is_quick)]


def case(operation: str, size: int) -> str:
    return f"{operation}, {size:,} jobs"


def operation_and_size(name: str) -> tuple[str, int]:
    operation, _, size = name.removesuffix(" jobs").rpartition(", ")
    return operation, int(size.replace(",", ""))


def slowdown(operation: str, few: float, many: float) -> float:
    """How much slower it is with many stored jobs than with few: above 1 is slower, for times and rates alike."""
    return many / few if is_time(operation) else few / many


def is_time(operation: str) -> bool:
    return operation.endswith("(ms)")


def up_to(most: int) -> Measure:
    """The measure with the sizes up to `most`; the smallest stands for comparison whatever it is."""
    return Measure(
        title="Growth: what stored jobs cost",
        unit="each line in its own",
        rule=(
            "Finished jobs with their events and random keys, filled in by SQL before each measurement. The sizes stand side "
            f"by side and take turns at each line, {TURNS} for rates and {PAGE_TURNS} for pages; medians, and how many times "
            f"slower than with the fewest. Accepting and draining (concurrency {CONCURRENCY}) add jobs of their own. Status: "
            f"each job once, none of them mirrored. A turn of the admin is the median of {PAGES} pages. Measured once."
        ),
        cases=(Growth([size for size in SIZES if size <= max(most, SIZES[0])]),),
        most_rounds=1,
    )


def _grown(stack: ExitStack, system: System, size: int) -> Grown:
    site = stack.enter_context(fresh_site(system))
    assert isinstance(site, OurSite), "only ours takes part"
    api = site.start_api()
    stock = fill_with_stock(site, api, size)
    wanted = min(size, POLLED * TURNS)
    numbers = random.sample(range(1, size + 1), wanted)
    admin = stack.enter_context(closing(Admin(api, site.superuser())))
    return Grown(site, api, admin, stock, [stock.id_of(number) for number in numbers])


def _in_turns(name: str, grown: Sequence[Grown], is_quick: bool) -> Sequence[float | NotMeasured]:
    """Of each size the median. What cannot be measured of one line leaves the others."""
    turns = QUICK_TURNS if is_quick else PAGE_TURNS if is_time(name) else TURNS
    try:
        figures = [[OPERATIONS[name](one, is_quick) for one in grown] for _ in range(turns)]
    except NotMeasured as error:
        return [error] * len(grown)
    return [statistics.median(of_size) for of_size in zip(*figures, strict=True)]
