"""RQ's view of our queues and jobs: the classes that RQ's tools, django-rq and stock RQ workers use for them.

Write access to Redis must not be code execution, and work of others must not vanish in our lists. So `RqJob` runs one
function with one id, and `RqQueue` refuses everything else where it is enqueued, before anything is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import django
import redis
from django.apps import apps
from rq.exceptions import DeserializationError, InvalidJobOperation
from rq.job import Job as BaseRqJob
from rq.queue import Queue as BaseRqQueue
from rq.serializers import JSONSerializer

from jobs import foreign
from jobs.conf import conf, rq_options, rq_queues
from jobs.redis_client import entries

PERFORM = "jobs.worker.perform"
QUEUE_CLASS = "jobs.queue.RqQueue"

_CLEAN_UP = "if not redis.call('LPOS', ARGV[1], ARGV[2]) then redis.call('DEL', KEYS[1]) end"


class RqJob(BaseRqJob):
    """A job of ours as RQ sees it: JSON, one function, one UUID. Refuses to run, or to store, anything else.

    A stock RQ worker must leave our records alone: no result is stored, and no hash deleted that may have been
    pushed again meanwhile.
    """

    def __init__(self, id: str | None = None, connection: redis.Redis | None = None, serializer: Any = None) -> None:
        super().__init__(id, connection, JSONSerializer)

    @classmethod
    def create(cls, func: Any, *args: Any, origin: str = "", **kwargs: Any) -> NoReturn:
        """Refuse: what RQ creates is a job of somebody else. Raises InvalidJobOperation."""
        _refuse(func, origin)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises InvalidJobOperation for a job of somebody else."""
        if not self.is_ours():
            _refuse(self.description or self.id, self.origin or "")
        super().save(*args, **kwargs)

    def is_ours(self) -> bool:
        try:
            self._deserialize_data()
        except (DeserializationError, ValueError):  # ValueError: it was made without a function
            return False
        return True

    def _deserialize_data(self) -> None:
        super()._deserialize_data()  # type: ignore[no-untyped-call]
        try:
            (argument,) = self._args  # type: ignore[misc]
            uuid.UUID(argument)
            is_ours = self._func_name == PERFORM and self._instance is None and not self._kwargs
        except (TypeError, ValueError, AttributeError) as error:
            raise DeserializationError("this queue holds jobs of the job system only") from error
        if not is_ours:
            raise DeserializationError("this queue holds jobs of the job system only")

    def get_result_ttl(self, default_ttl: int) -> int:
        return 0

    def cleanup(self, ttl: int | None = None, pipeline: Any = None, remove_from_queue: bool = True) -> None:
        """Delete what RQ wrote into the hash after the transition that ended the attempt had deleted it.

        Not while the id stands in the list: then the job was pushed again meanwhile. RQ's pipeline answers
        with itself, so this is a command among its others.
        """
        if self.is_ours():
            arguments = (self.key, foreign.LIST + self.origin, self.id)
            (self.connection if pipeline is None else pipeline).eval(_CLEAN_UP, 1, *arguments)


class RqQueue(BaseRqQueue):
    """A queue of ours as RQ sees it. RQ's tools may read it, and a stock RQ worker serve it; nobody enqueues here."""

    job_class = RqJob

    def __init__(self, name: str = "default", connection: redis.Redis | None = None, **options: Any) -> None:
        for of_others in ("autocommit", "commit_mode"):  # django-rq's
            options.pop(of_others, None)
        super().__init__(name, connection, **{**options, "job_class": RqJob, "serializer": JSONSerializer})

    @classmethod
    def _fetch_dequeued_job(
        cls,
        connection: redis.Redis,
        queue_key: str,
        job_id: str,
        job_class: Any = None,
        serializer: Any = None,
        death_penalty_class: Any = None,
    ) -> tuple[BaseRqJob, BaseRqQueue] | None:
        """What a stock worker popped; None, after it was put aside, where it is a job of somebody else.

        RQ's own `rq worker` has not set up Django, which our function needs.
        """
        if not apps.ready:
            django.setup()
        found = super()._fetch_dequeued_job(connection, queue_key, job_id, RqJob, JSONSerializer, death_penalty_class)
        if found is not None and _is_ours(found[0]):
            return found
        foreign.put_aside([(job_id.encode(), queue_key.removeprefix(foreign.LIST))], connection)
        return None

    def create_job(self, func: Any, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse(func, self.name)

    def enqueue_call(self, func: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse at once, also inside a transaction, where django-rq would wait for its commit."""
        _refuse(func, self.name)

    def prepare_data(self, func: Any, *args: Any, **kwargs: Any) -> NoReturn:  # type: ignore[override]
        _refuse(func, self.name)

    def enqueue_many(self, job_datas: Any, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse(next((data.func for data in job_datas), "many"), self.name)

    def enqueue_job(self, job: BaseRqJob, *args: Any, **kwargs: Any) -> BaseRqJob:
        self._demand_ours(job)
        return super().enqueue_job(job, *args, **kwargs)

    def _enqueue_job(self, job: BaseRqJob, *args: Any, **kwargs: Any) -> BaseRqJob:
        self._demand_ours(job)
        return super()._enqueue_job(job, *args, **kwargs)

    def schedule_job(self, job: BaseRqJob, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse(job.description or job.id, self.name)

    def run_job(self, job: BaseRqJob) -> BaseRqJob:
        self._demand_ours(job)
        return super().run_job(job)

    def _demand_ours(self, job: BaseRqJob) -> None:
        if not _is_ours(job):
            _refuse(job.description or job.id, self.name)


def _is_ours(job: BaseRqJob) -> bool:
    return isinstance(job, RqJob) and job.is_ours()


def _refuse(work: Any, queue: str) -> NoReturn:
    """Raises InvalidJobOperation: nothing was written."""
    name = getattr(work, "__qualname__", None) or str(work)
    if not queue or queue in conf().queues:
        raise InvalidJobOperation(
            f"{name[:200]} cannot be enqueued in {f'the queue {queue!r}' if queue else 'this queue'}: it runs jobs of the job system only"
            f" (JOBS_QUEUES has {' '.join(conf().queues)}). Use jobs.submit(…), or another queue of RQ_QUEUES;"
            " to keep this name for RQ, take it out of JOBS_QUEUES."
        )
    raise InvalidJobOperation(
        f"{name[:200]} cannot be enqueued in the queue {queue!r} by the job class of the job system."
        " Take JOB_CLASS and QUEUE_CLASS of the job system out of RQ and of this entry of RQ_QUEUES: they are for"
        f" the queues of JOBS_QUEUES only ({' '.join(conf().queues)})."
    )


def stock_class(setting: str, default: str) -> Any:
    """The class that `RQ` names for queues of others; `default` where it names none, or ours."""
    stated = rq_options().get(setting)
    return default if stated is None or setting in ours_in_rq() else stated


def ours_in_rq() -> list[str]:
    """The names in the setting `RQ`, which holds for all queues, that name a class of the job system."""
    return [name for name, stated in rq_options().items() if name.endswith("_CLASS") and is_of_ours(stated)]


def is_of_ours(stated: Any) -> bool:
    """Whether a class, or the path of one, belongs to the job system."""
    path = stated if isinstance(stated, str) else getattr(stated, "__module__", "")
    return path.partition(".")[0] == __name__.partition(".")[0]


def theirs(names: Iterable[str]) -> list[str]:
    """Those of the names that are queues of RQ's own: `RQ_QUEUES` has them, with another class, or they hold jobs put aside."""
    found = []
    for name in names:
        entry = rq_queues().get(name)
        is_stated = entry is not None and not is_of_ours(entry.get("QUEUE_CLASS", ""))
        if name not in conf().queues and (is_stated or _stem(name)):
            found.append(name)
    return found


def _stem(name: str) -> str | None:
    """The queue of ours whose jobs of others are in that list."""
    stem = name.removesuffix(foreign.SUFFIX)
    return stem if stem != name and stem in conf().queues else None


def with_kept_lists(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`RQ_QUEUES`, completed in this process by those of the names that are lists of jobs put aside (`foreign.py`)."""
    known = rq_queues()
    for name in names:
        if name not in known and (stem := _stem(name)):
            entry = entries().get(stem) or {"URL": conf().redis_url}
            known[name] = {option: value for option, value in entry.items() if option != "QUEUE_CLASS"}
    return known


def install() -> None:
    """Name our queue class in the entries of our queues in `RQ_QUEUES`, where they name none."""
    known = rq_queues()
    for name, entry in entries().items():
        if "QUEUE_CLASS" not in entry:
            known[name] = {**entry, "QUEUE_CLASS": QUEUE_CLASS}  # a new dict: other queues may share the old one
