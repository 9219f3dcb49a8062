"""The shapes of the API's documents, as JSON Schema (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any

from jobs.envelope import MAX_DELAY_S
from jobs.lifecycle import Actor, Event, Status
from jobs.models import Effect, Job

Shape = dict[str, Any]

TEXT: Shape = {"type": "string"}
COUNT: Shape = {"type": "integer", "minimum": 0}
TIME: Shape = {"type": "string", "format": "date-time"}
UUID: Shape = {"type": "string", "format": "uuid"}
ANYTHING: Shape = {}
OBJECT: Shape = {"type": "object", "additionalProperties": True}
KEY: Shape = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}
TYPE: Shape = {"type": "string", "pattern": "^[a-z][a-z0-9._-]{0,99}$"}
QUEUE: Shape = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}
TAG: Shape = {"type": "string", "minLength": 1, "maxLength": 64}
STATUS: Shape = {"type": "string", "enum": list(Status)}


def choices(values: Any) -> Shape:
    return {"type": "string", "enum": [str(value) for value in values]}


def optional(shape: Shape) -> Shape:
    """The shape, or null."""
    if "type" in shape and "enum" not in shape:
        return {**shape, "type": [shape["type"], "null"]}
    return {"anyOf": [shape, {"type": "null"}]}


def ref(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/{name}"}


def listing(shape: Shape) -> Shape:
    return {"type": "array", "items": shape}


def record(description: str = "", may_lack: tuple[str, ...] = (), /, **members: Any) -> Shape:
    """An object that has exactly these members, all but the optional ones always."""
    shape: Shape = {
        "type": "object",
        "properties": members,
        "required": [name for name in members if name not in may_lack],
        "additionalProperties": False,
    }
    return {**shape, "description": description} if description else shape


ERROR = record(code=TEXT, message=TEXT)

STATUS_MEMBERS: dict[str, Shape] = {
    "id": UUID,
    "type": TYPE,
    "status": STATUS,
    "attempt": COUNT,
    "failures": COUNT,
    "crashes": COUNT,
    "maxAttempts": COUNT,
    "queue": QUEUE,
    "progress": optional(OBJECT),
    "createdAt": TIME,
    "runAfter": optional(TIME),
    "startedAt": optional(TIME),
    "finishedAt": optional(TIME),
    "result": ANYTHING,
    "error": optional(ERROR),
    "idempotencyKey": optional(KEY),
    "links": record(self=TEXT, status=TEXT, cancel=TEXT, retry=TEXT),
}

JOB_REQUEST = record(
    "A job as it is asked for. Everything but the type is optional.",
    ("payload", "idempotencyKey", "queue", "runAt", "delaySeconds", "maxAttempts", "timeoutSeconds", "tags", "callbackUrl"),
    type=TYPE,
    payload=optional(OBJECT),
    idempotencyKey=optional(KEY),
    queue=optional(QUEUE),
    runAt=optional(TIME),
    delaySeconds=optional({"type": "number", "minimum": 0, "maximum": MAX_DELAY_S}),
    maxAttempts=optional({"type": "integer", "minimum": 1, "maximum": 100}),
    timeoutSeconds=optional({"type": "integer", "minimum": 1, "maximum": 86_400}),
    tags=optional({"type": "array", "items": TAG, "maxItems": 20}),
    callbackUrl=optional({"type": "string", "format": "uri", "maxLength": 2000}),
) | {
    "not": {
        "description": "One or the other.",
        "properties": {"runAt": TEXT, "delaySeconds": {"type": "number"}},
        "required": ["runAt", "delaySeconds"],
    }
}  # fmt: skip

EVENT = record(
    event=choices(Event),
    source=optional(STATUS),
    target=STATUS,
    attempt=COUNT,
    actor=choices(Actor),
    who=TEXT,
    at=TIME,
    runAfter=optional(TIME),
    error=optional(ERROR),
)

EFFECT = record(
    name=TEXT,
    status=choices(Effect.Status.values),
    onDoubt=choices(Effect.OnDoubt.values),
    key=TEXT,
    attempt=COUNT,
    reservedAt=TIME,
    endedAt=optional(TIME),
    result=ANYTHING,
    error=optional(TEXT),
    settledBy=optional(TEXT),
    evidence=optional(TEXT),
)

COMPONENTS: dict[str, Shape] = {
    "JobRequest": JOB_REQUEST,
    "JobStatus": record("Where a job stands.", **STATUS_MEMBERS),
    "Job": record(
        "A job with everything that is known of it.",
        **STATUS_MEMBERS,
        client=TEXT,
        source=choices(Job.Source.values),
        payload=ANYTHING,
        tags=listing(TAG),
        timeoutSeconds=COUNT,
        callbackUrl=optional(TEXT),
        cancelRequestedAt=optional(TIME),
        events=listing(EVENT),
        effects=listing(EFFECT),
        log=listing(record(attempt=COUNT, at=TIME, level=TEXT, message=TEXT)),
        waiting=optional(record("Why it is not over yet.", code=TEXT, sentence=TEXT, nextStep=TEXT)),
    ),
    "JobPage": record(
        "Newest first. `next` (older) and `previous` (newer) are values for `cursor`; null: there is nothing.",
        items=listing(ref("JobStatus")),
        next=optional(TEXT),
        previous=optional(TEXT),
    ),
    "Batch": record(
        "Each job is judged alone: one that is malformed has a problem for an outcome and spoils no other.",
        jobs={"type": "array", "items": {"anyOf": [ref("JobRequest"), ANYTHING]}, "maxItems": 1000},
    ),
    "BatchAnswer": record(
        items=listing(
            record("", ("job", "problem"), status=COUNT, job=ref("JobStatus"), problem=ref("Problem")),
        )
    ),
    "JobType": record(
        name=TYPE,
        description=TEXT,
        queue=QUEUE,
        maxAttempts=COUNT,
        maxCrashes=COUNT,
        timeoutSeconds=COUNT,
        isIsolated={"type": "boolean"},
        backoff=OBJECT,
        payloadSchema=optional(OBJECT),
    ),
    "JobTypes": record(items=listing(ref("JobType"))),
    "Queue": record(
        name=QUEUE,
        paused={"type": "boolean"},
        pausedBy=optional(TEXT),
        pausedAt=optional(TIME),
        queued=COUNT,
        running=COUNT,
        scheduled=COUNT,
        listed={
            "type": "boolean",
            "description": "Whether JOBS_QUEUES names it; otherwise only its open jobs keep it.",
        },
        oldestWaitSeconds=optional({"type": "number", "minimum": 0}),
        workers=COUNT,
    ),
    "Queues": record(items=listing(ref("Queue"))),
    "Stats": record(
        **{"from": TIME},
        to=TIME,
        bucketsMs=listing(COUNT),
        items=listing(
            record(
                minute=TIME,
                queue=QUEUE,
                type=TYPE,
                outcome=TEXT,
                count=COUNT,
                waitMs=COUNT,
                runMs=COUNT,
                wait=listing(COUNT),
                run=listing(COUNT),
            )
        ),
    ),
    "Health": record(
        "",
        ("checks", "warnings"),
        status=TEXT,
        checks=OBJECT,
        warnings=listing(TEXT),
    ),
    "Text": TEXT,
    "Document": OBJECT,
    "Problem": record(
        "RFC 9457. Read `code`; `detail` is for people.",
        ("errors", "jobStatus", "allowed", "firstUsedAt", "queues"),
        type={"type": "string", "format": "uri"},
        title=TEXT,
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=TEXT,
        code=TEXT,
        errors=listing(record("", (), pointer=TEXT, code=TEXT, detail=TEXT)),
        jobStatus=STATUS,
        allowed=listing(STATUS),
        firstUsedAt=TIME,
        queues=listing(QUEUE),
        requestId=TEXT,
    ),
}
