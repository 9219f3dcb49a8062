"""The base of all API views: JSON in and out, problems for errors, scopes by method.

It states its own classes instead of relying on the project's REST_FRAMEWORK, so that the app behaves the
same wherever it is installed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.core.exceptions import SynchronousOnlyOperation
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.api import problems
from jobs.api.access import ClientRate, HasScope, KeyAuthentication, SessionAuthentication, give_back, identity_of
from jobs.api.openapi import Schema
from jobs.api.parsing import body_of, loads
from jobs.api.rendering import JsonOnly, JsonRenderer
from jobs.api.waiting import WAIT_S, Awaited, NeedsThread, is_in_lane, result_of
from jobs.errors import FieldError, JobNotFound, MalformedRequest
from jobs.models import Job


class ApiView(APIView):
    http_method_names = ("get", "head", "post")
    renderer_classes: Sequence[Any] = (JsonRenderer,)
    parser_classes = ()  # bodies are read by `body`, under the view's own limit
    content_negotiation_class = JsonOnly
    authentication_classes: Sequence[Any] = (KeyAuthentication, SessionAuthentication)
    permission_classes: Sequence[Any] = (HasScope,)
    throttle_classes: Sequence[Any] = (ClientRate,)
    versioning_class = None
    metadata_class = None
    schema = Schema()

    scopes: ClassVar[dict[str, str]] = {}
    """The scope each method needs."""

    parameters: ClassVar[frozenset[str]] = frozenset()
    """Names of the query parameters that exist; any other is a 400, so that a misspelt filter is noticed."""

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response]:
        return problems.handle

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request._request.META.get("QUERY_STRING"):
            self._check_query(request)

    def permission_denied(self, request: Request, message: str | None = None, code: str | None = None) -> Any:
        raise NotAuthenticated("Send an API key as 'Authorization: Bearer <key>'.")

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, NeedsThread | SynchronousOnlyOperation):  # Django's ORM refuses the event loop as well
            give_back(getattr(self.request._request, "rate_key", None))
            raise NeedsThread from exc
        return super().handle_exception(exc)

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(response, Awaited):
            if is_in_lane(request._request):
                response.finish = lambda: self.finalize_response(request, self._result_of(response, 0))
                return response
            response = self._result_of(response, WAIT_S)
        return super().finalize_response(request, response, *args, **kwargs)

    def _result_of(self, awaited: Awaited, timeout_s: float) -> Response:
        try:
            return awaited.answer(result_of(awaited.future, timeout_s))
        except Exception as error:
            return self.handle_exception(error)

    def body(self, request: Request, limit: int) -> Any:
        """The request's JSON. Raises MalformedRequest, TooLarge, UnsupportedMediaType."""
        return loads(body_of(request._request, limit))

    def visible_job(self, request: Request, text: str) -> Job:
        """The job, if the caller may see it. Raises JobNotFound."""
        job = Job.objects.filter(pk=job_id(text)).first()
        if job is None or not identity_of(request).sees(job.client):
            raise JobNotFound
        return job

    def _check_query(self, request: Request) -> None:
        errors = []
        for name, values in request.query_params.lists():
            if name not in self.parameters:
                errors.append(FieldError("", "unknown-parameter", f"there is no parameter {name[:60]!a}"))
            elif len(values) > 1:
                errors.append(FieldError("", "repeated-parameter", f"the parameter {name} is there twice"))
        if errors:
            raise MalformedRequest("The query is malformed.", errors)


def job_id(text: str) -> uuid.UUID:
    """Raises JobNotFound for what is no id: to the caller it makes no difference."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        raise JobNotFound from None
    if str(found) != text.lower():
        raise JobNotFound
    return found
