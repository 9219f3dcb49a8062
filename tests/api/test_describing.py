"""The API's description, and the page that shows it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from django.contrib.staticfiles import finders
from drf_spectacular.validation import validate_schema

from jobs.api.urls import urlpatterns
from jobs.envelope import MEMBERS
from jobs.lifecycle import Status
from tests.api.promises import described
from tests.api.transports import Api


def test_the_description_is_valid_openapi_3_1(django_api: Api) -> None:
    answer = django_api.get("/api/schema", Authorization="")
    assert answer.json()["openapi"].startswith("3.1")
    validate_schema(answer.json())


def test_every_path_is_described_with_an_id_of_its_own() -> None:
    paths = {re.sub(r"<str:(\w+)>", r"{\1}", f"/api/{pattern.pattern}") for pattern in urlpatterns}
    assert paths - described()["paths"].keys() == {"/api/docs"}
    names = [operation["operationId"] for path in described()["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for path in described()["paths"].values() for operation in path.values())


def test_the_description_knows_what_the_code_knows() -> None:
    schemas = described()["components"]["schemas"]
    assert set(schemas["JobRequest"]["properties"]) == set(MEMBERS)
    assert schemas["JobStatus"]["properties"]["status"]["enum"] == list(Status)


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.inline: list[str] = []
        self._in = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.sources += [value for value in (named.get("src"), named.get("href")) if value]
        self.inline += [name for name in named if name.startswith("on") or name == "style"]
        self._in = tag if tag == "style" or (tag == "script" and "src" not in named) else ""

    def handle_data(self, data: str) -> None:
        if self._in and data.strip():
            self.inline.append(data)


def test_the_docs_page_loads_local_files_only_and_has_nothing_inline(django_api: Api) -> None:
    html = django_api.transport.send("GET", "/api/docs", b"", {"Accept": "text/html"}).body.decode()
    page = Page(html)
    assert page.inline == []
    assert page.sources
    for source in page.sources:
        assert source.startswith("/")
        assert not source.startswith("//")
        if source.startswith("/static/"):
            assert finders.find(source.removeprefix("/static/"))
    script = django_api.transport.send("GET", "/api/docs?script=", b"", {"Accept": "*/*"})
    assert script.headers["content-type"].startswith("application/javascript")
    assert b"/api/schema" in script.body or b"schema" in script.body
