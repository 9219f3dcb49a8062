"""Step 2: the job that a request asks for, or everything that is wrong with it. Pure."""

from __future__ import annotations

import logging

import pydantic

from jobs import registry
from jobs.conf import conf
from jobs.envelope import JobRequest
from jobs.errors import FieldError, InvalidPayload, JobsError, UnknownQueue
from jobs.lifecycle import Actor
from jobs.sql import new_id
from jobs.transitions import NewJob

log = logging.getLogger("jobs.submission")

ACTORS = {"schedule": Actor.SCHEDULER, "command": Actor.OPERATOR}
"""Who caused the first event, by the job's source; a client otherwise."""


def prepare(request: JobRequest) -> NewJob:
    """The job that a request asks for. Raises UnknownType, UnknownQueue, InvalidPayload."""
    job_type = registry.get(request.type)
    options = request.options
    queue_name = options.get("queue") or job_type.queue
    if queue_name not in conf().queues:
        raise UnknownQueue(f"there is no queue {queue_name!r}: a job in it would never run", queues=conf().queues)
    if job_type.payload is not None:
        try:
            job_type.payload.model_validate(request.payload)
        except pydantic.ValidationError as error:
            raise InvalidPayload(
                f"the payload does not fit the type {request.type!r}", _payload_errors(error)
            ) from None
        except (Exception, SystemExit) as error:  # a defect of the model: it must not take a batch with it
            log.error("the payload model of the type %s raised %s", request.type, type(error).__name__)
            raise JobsError("the payload model of this type has a defect") from error
    return NewJob(
        id=new_id(),
        type=request.type,
        queue=queue_name,
        client=request.client,
        source=request.source,
        key=request.key,
        canonical=None if request.key is None else request.canonical,
        payload=request.payload_json.decode(),
        options=request.options_json.decode(),
        callback_url=options.get("callbackUrl"),
        max_attempts=int(options.get("maxAttempts") or job_type.max_attempts),
        max_crashes=job_type.max_crashes,
        timeout_s=int(options.get("timeoutSeconds") or job_type.timeout_s),
        run_at=request.run_at,
        delay_s=request.delay_s,
        tags=request.tags,
        who=request.who,
        actor=ACTORS.get(request.source, Actor.CLIENT),
    )


def _payload_errors(error: pydantic.ValidationError) -> list[FieldError]:
    """Every error with its pointer; never the value that was sent."""
    return [
        FieldError(
            "/payload" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in item["loc"]),
            item["type"],
            item["msg"],
        )
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
