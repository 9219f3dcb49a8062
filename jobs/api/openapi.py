"""How views describe themselves: `@operation(…)` on a method, the shapes in `components.py`.

Whatever an operation may answer is stated here, problems included; the tests hold the API to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from jobs.api.components import COMPONENTS
from jobs.api.schedule_shapes import SHAPES

SETTINGS = {
    "TITLE": "Jobs API",
    "DESCRIPTION": "Submit background jobs once, watch them, stop them, run them again.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "",
    "SORT_OPERATIONS": False,
    "PREPROCESSING_HOOKS": [],
    "POSTPROCESSING_HOOKS": [],
}
"""drf-spectacular's, while it describes this API."""

F = TypeVar("F", bound=Callable[..., Any])

PROBLEMS = {
    400: "The request is malformed.",
    401: "No API key or session, or one that is not valid.",
    403: "A scope is missing.",
    404: "Nothing here that you may see.",
    405: "The method is not allowed here.",
    406: "The answer is JSON, which you do not accept.",
    409: "The job's status does not allow it; `allowed` names those that do.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "Well-formed, but not possible: `unknown-type`, `unknown-queue`, `invalid-payload` or `key-reused`.",
    429: "Too many requests.",
    503: "The database does not answer or cannot commit.",
}
ALWAYS = (400, 401, 403, 406, 429, 503)
"""What every operation behind a key may answer."""


@dataclass(frozen=True)
class Answer:
    """One good answer: what it means, the component it holds, and its headers by name with their meaning."""

    description: str
    component: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


def operation(
    name: str,
    summary: str,
    answers: dict[int, Answer],
    *,
    problems: Iterable[int] = (),
    body: str | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    is_open: bool = False,
) -> Callable[[F], F]:
    """Describe a view's method. `problems` are those beside ALWAYS; open ones need no key."""
    responses: dict[Any, Any] = {}
    headers = list(parameters)
    for status, answer in answers.items():
        shape = reference(answer.component) if answer.component else None
        responses[status, answer.media_type] = OpenApiResponse(shape, answer.description)
        headers += [_header(title, meaning, status) for title, meaning in answer.headers.items()]
    for status in sorted({*((406, 503) if is_open else ALWAYS), *problems}):
        responses[status, "application/problem+json"] = OpenApiResponse(reference("Problem"), PROBLEMS[status])
    extend = extend_schema(
        operation_id=name,
        summary=summary,
        request={"application/json": reference(body)} if body else None,
        responses=responses,
        parameters=headers,
        auth=[] if is_open else None,
    )

    def describe(method: F) -> F:
        method.schema = Schema  # type: ignore[attr-defined]  # else it is the project's DEFAULT_SCHEMA_CLASS
        return extend(method)

    return describe


def reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def query(name: str, shape: dict[str, Any], description: str) -> OpenApiParameter:
    return OpenApiParameter(name, shape, OpenApiParameter.QUERY, description=description)


def header(name: str, shape: dict[str, Any], description: str) -> OpenApiParameter:
    return OpenApiParameter(name, shape, OpenApiParameter.HEADER, description=description)


def in_path(name: str, shape: dict[str, Any], description: str) -> OpenApiParameter:
    return OpenApiParameter(name, shape, OpenApiParameter.PATH, description=description, required=True)


JOB_ID = in_path("id", {"type": "string", "format": "uuid"}, "The job's id.")


def _header(name: str, meaning: str, status: int) -> OpenApiParameter:
    return OpenApiParameter(
        name, {"type": "string"}, OpenApiParameter.HEADER, description=meaning, response=[str(status)]
    )


class Schema(AutoSchema):
    """drf-spectacular's schema, with our security schemes and tags."""

    def get_auth(self) -> list[dict[str, Any]]:
        return [{"apiKey": []}, {"adminSession": []}] if self.view.authentication_classes else []

    def get_tags(self) -> list[str]:
        return [self.path.strip("/").split("/")[1]] if self.path.startswith("/api/") else ["operation"]


def complete(result: dict[str, Any]) -> dict[str, Any]:
    """What drf-spectacular cannot know: our components, and that a described body is required."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update({**COMPONENTS, **SHAPES})
    components["securitySchemes"] = {
        "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: `jk_…`."},
        "adminSession": {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The admin's session; writing needs the header `X-CSRFToken`.",
        },
    }
    for path in result["paths"].values():
        for described in path.values():
            if "requestBody" in described:
                described["requestBody"]["required"] = True
    return result
