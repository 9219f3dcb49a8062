"""A real site of ours, asked what the measures ask of it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from benchmarks import stock
from benchmarks.admin import Admin
from benchmarks.calls import Caller, Poster
from benchmarks.measures.base import fresh_site
from benchmarks.peers import SYSTEMS
from benchmarks.peers.base import Api
from benchmarks.peers.ours import OurSite
from benchmarks.services import NotMeasured
from tests.support.eventually import eventually

STORED = 40
FEW = 5


@pytest.fixture(scope="module")
def stocked() -> Iterator[tuple[OurSite, Api, stock.Stock]]:
    with fresh_site(SYSTEMS[0]) as site:
        assert isinstance(site, OurSite)
        api = site.start_api()
        yield site, api, stock.fill(site, api, STORED)


def test_stock_looks_like_jobs_that_were_run(stocked: tuple[OurSite, Api, stock.Stock]) -> None:
    site, api, filled = stocked
    counts = site.store.rows("SELECT status, count(*) FROM jobs_job WHERE key NOT LIKE '%-%' GROUP BY status")
    assert dict(counts) == {
        "failed": STORED // stock.ONE_FAILED_OF,
        "succeeded": STORED - STORED // stock.ONE_FAILED_OF,
    }
    lonely = site.store.number(
        "SELECT count(*) FROM jobs_job WHERE (SELECT count(*) FROM jobs_event WHERE job_id = jobs_job.id) <> 3"
        " OR (SELECT count(*) FROM jobs_idempotencykey WHERE job_id = jobs_job.id AND key = jobs_job.key) <> 1"
    )
    assert lonely == 0
    path = urlsplit(api.status_url.format(id=filled.id_of(STORED))).path
    with closing(Caller(api.create_url)) as caller:
        assert caller.ask("GET", path, None, api.headers).status == http.client.OK


def test_the_admin_is_timed_logged_in_and_an_error_is_no_time(stocked: tuple[OurSite, Api, stock.Stock]) -> None:
    site, api, filled = stocked
    with closing(Admin(api, site.superuser())) as admin:
        assert admin.page_ms(f"jobs/job/?q={site.key_of(filled.id_of(1))}", 1) > 0
        with pytest.raises(NotMeasured, match="404"):
            admin.page_ms("jobs/nothing/", 1)


def test_starts_are_told_and_only_jobs_whose_mirror_is_believed_are_polled(
    stocked: tuple[OurSite, Api, stock.Stock],
) -> None:
    site, api, _ = stocked
    with closing(Poster(api)) as poster:
        for number in range(FEW):
            poster.post(f"few-{number}", {})
    before = site.done()
    worker = site.start_worker(1)
    assert eventually(lambda: site.done() == before + FEW, timeout_s=40)
    assert eventually(lambda: len(site.done_ids(FEW)) == FEW)
    site.processes.end(worker)
    assert set(site.started_at("few")) == {f"few-{number}" for number in range(FEW)}
    assert (site.starts("few-0"), site.starts("unheard-of")) == (1, 0)
    gone, *others = site.done_ids(FEW)
    site.broker.delete(f"jobs:status:{gone}")
    assert site.done_ids(FEW) == others
