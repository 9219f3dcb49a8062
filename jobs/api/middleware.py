"""Every answer under the API's paths is JSON and carries the request's id, whoever made it.

Views make problems themselves; this turns what Django answers in their place (unknown paths, hosts that
are not allowed, bodies it refuses, crashes in other middleware) into the same shape. It has to be the
first in MIDDLEWARE.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from jobs.api import problems
from jobs.api.mounts import is_ours

DETAILS = {
    400: "The request is malformed.",
    403: "This is not allowed.",
    404: "There is nothing here.",
    413: "The body is too large.",
    500: "Something went wrong on our side.",
}


class Problems(MiddlewareMixin):
    is_pure = True  # asks nothing of database or network, so the event loop may call it
    is_plain = True

    def process_request(self, request: HttpRequest) -> None:
        problems.request_id(request)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not is_ours(request):
            return response
        if response.status_code >= 400 and response.headers.get("Content-Type") != problems.MEDIA_TYPE:
            response = self._problem(request, response)
        response.headers["X-Request-Id"] = problems.request_id(request)
        return response

    def _problem(self, request: HttpRequest, page: HttpResponseBase) -> HttpResponse:
        """The problem in place of a page, with the headers that other middleware gave it."""
        status = page.status_code
        problem = problems.plain_response(request, status, DETAILS.get(status, "The request cannot be served."))
        for name, value in page.headers.items():
            problem.headers.setdefault(name, value)
        return problem
