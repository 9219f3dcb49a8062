"""A person with a real browser: logs in, opens a job, cancels it. Nothing is blocked by the page's policy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from jobs.lifecycle import Status
from jobs.models import Event as EventRow
from jobs.models import Job
from tests.admin.pages import job_url
from tests.support.eventually import eventually
from tests.support.factory import make_job

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # selenium leaves its sockets to the collector
]

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--window-size=1400,1000",
)  # fmt: skip


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.implicitly_wait(5)
    yield driver
    driver.quit()


def complaints(browser: Any) -> list[str]:
    """What the browser's console says, the missing favourite icon aside."""
    return [line["message"] for line in browser.get_log("browser") if "favicon" not in line["message"]]


def log_in(browser: Any, live_server: Any) -> None:
    User.objects.create_superuser("staff", "staff@example.com", "password")
    browser.get(f"{live_server.url}/admin/")
    browser.find_element("name", "username").send_keys("staff")
    browser.find_element("name", "password").send_keys("password")
    browser.find_element("css selector", "[type=submit]").click()


def test_a_person_logs_in_opens_a_job_and_cancels_it(browser: Any, live_server: Any) -> None:
    job = make_job("queued", key="order-1", payload={"text": "x" * 5_000})

    log_in(browser, live_server)
    browser.find_element("link text", "Jobs").click()
    browser.find_element("id", "searchbar").send_keys("order-1\n")
    eventually(lambda: "q=order-1" in browser.current_url)  # the row stands in the page before, too
    browser.find_element("css selector", "th.field-shown_id a").click()
    assert str(job.pk) in browser.current_url
    browser.find_element("css selector", "details.job-all summary").click()
    badge = browser.find_element("css selector", "h1 .job-badge")
    assert badge.text == "queued"
    assert badge.value_of_css_property("background-color") == "rgba(47, 111, 167, 1)", "the style sheet was refused"

    browser.find_element("link text", "Cancel …").click()
    browser.find_element("css selector", "input.job-confirm").click()
    assert "is cancelled" in browser.find_element("css selector", ".messagelist").text
    assert browser.find_element("css selector", "h1 .job-badge").text == "cancelled"

    assert Job.objects.get(pk=job.pk).status == Status.CANCELLED
    assert EventRow.objects.filter(job=job).latest("id").who == "staff"
    assert complaints(browser) == []


def test_rows_are_picked_and_cancelled_together(browser: Any, live_server: Any) -> None:
    jobs = [make_job("queued") for _ in range(3)]
    log_in(browser, live_server)
    browser.find_element("link text", "Jobs").click()
    browser.find_element("id", "action-toggle").click()
    browser.find_element("css selector", "select[name=action] option[value=cancel_jobs]").click()
    browser.find_element("css selector", "button[name=index]").click()
    browser.find_element("css selector", "input.job-confirm").click()

    assert "3 jobs: 3 cancel." in browser.find_element("css selector", ".messagelist").text
    assert {job.status for job in Job.objects.filter(pk__in=[job.pk for job in jobs])} == {Status.CANCELLED}
    assert job_url(jobs[0]) in browser.page_source
    assert complaints(browser) == []
