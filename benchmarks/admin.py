"""The admin as a browser asks for it, logged in."""

from __future__ import annotations

import http.client
import re
import statistics
import time
from urllib.parse import urlencode

from benchmarks.calls import Answer, Caller
from benchmarks.peers.base import Account, Api
from benchmarks.services import NotMeasured

TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="([^"]+)"')
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Admin:
    def __init__(self, api: Api, account: Account) -> None:
        self._caller = Caller(api.create_url)
        self._cookies: dict[str, str] = {}
        self._log_in(account)

    def close(self) -> None:
        self._caller.close()

    def page_ms(self, path: str, times: int) -> float:
        """The median of how long it takes until the page is there; a first look does not count."""
        self._caller.hang_up()
        looks = [self._look_ms(path) for _ in range(times + 1)]
        return statistics.median(looks[1:])

    def _look_ms(self, path: str) -> float:
        began = time.perf_counter()
        self._expect(http.client.OK, self._ask("GET", f"/admin/{path}"))
        return (time.perf_counter() - began) * 1000

    def _log_in(self, account: Account) -> None:
        form = self._ask("GET", "/admin/login/")
        self._expect(http.client.OK, form)
        found = TOKEN.search(form.body)
        token = found[1].decode() if found else ""
        fields = {"csrfmiddlewaretoken": token, "username": account.name, "password": account.password}
        self._expect(http.client.FOUND, self._ask("POST", "/admin/login/", urlencode(fields)))

    def _ask(self, method: str, path: str, body: str | None = None) -> Answer:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        answer = self._caller.ask(method, path, body, {"cookie": cookies, **(FORM if body else {})})
        for line in answer.headers.get_all("set-cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name] = value
        return answer

    def _expect(self, status: int, answer: Answer) -> None:
        if answer.status != status:
            raise NotMeasured(f"the admin answered {answer.status} where {status} was expected")
