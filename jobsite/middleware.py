"""What the project adds to Django's middleware: what a page of ours may load and run, and which slips of a path are mended."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.utils.deprecation import MiddlewareMixin

POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data:",  # Swagger UI draws its icons from data: URLs
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    ]
)


class ContentSecurityPolicy(MiddlewareMixin):
    """No inline script, no inline style, nothing from elsewhere, on every page."""

    is_pure = True  # asks nothing of database or network, so the event loop may call it
    is_plain = True  # treats requests with the same head alike

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response


class Common(CommonMiddleware):
    """Adds a missing slash for those who look. A redirected form would arrive empty, so one that is sent to such a
    path is not found; Django itself fails on it under DEBUG."""

    is_pure = is_plain = True  # as Django's

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)
