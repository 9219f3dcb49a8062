"""What a measure needs of a system: an API to load, a worker to start, and a count of what is left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from subprocess import Popen

from benchmarks.services import NotMeasured, Processes

# The case of those whose concurrency is part of their setting, and the number that stands for it.
OWN_SETTING = "own setting"
OWN_CONCURRENCY = 0


@dataclass(frozen=True)
class Api:
    """Where jobs are posted, and the process that answers."""

    process: Popen[bytes]
    create_url: str
    batch_url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status_url: str = ""  # with {id} in it


@dataclass(frozen=True)
class Account:
    """Somebody who may log in."""

    name: str
    password: str


class Site(ABC):
    """One system, set up on a broker and a database of its own.

    `paces`: about how many jobs a second it gets done at each concurrency, by which the number of jobs is chosen.
    """

    paces: Mapping[int, int]

    def __init__(self, processes: Processes) -> None:
        self.processes = processes

    @abstractmethod
    def start_api(self) -> Api: ...

    @abstractmethod
    def start_worker(self, concurrency: int) -> Popen[bytes]:
        """The process that was started; the worker is it and all its descendants."""

    @abstractmethod
    def remaining(self) -> int:
        """Accepted jobs that are not done yet, as the data store has it."""

    # What only some measures ask for, of the systems that take part in them.

    def done(self) -> int:
        """Jobs that were done since the site was set up."""
        raise NotImplementedError

    def done_ids(self, most: int) -> list[str]:
        """Ids of done jobs, each of which can be polled without a look into a database."""
        raise NotImplementedError

    def started_at(self, prefix: str) -> dict[str, float]:
        """When the jobs whose keys begin so were started, as the system records it: Unix seconds by key."""
        raise NotImplementedError

    def starts(self, key: str) -> int:
        """How often that job was started."""
        raise NotImplementedError


class Enqueues(Site):
    """A system without an HTTP API of its own: jobs are enqueued by a program in a process that ends."""

    @abstractmethod
    def enqueue(self, jobs: int) -> None: ...

    def submit_long(self) -> None:
        """Enqueue a job that outlasts the measurement."""
        raise NotImplementedError

    def long_starts(self) -> int:
        """How often that job was started."""
        raise NotImplementedError

    def start_api(self) -> Api:
        raise NotMeasured("has no HTTP API of its own")


@dataclass(frozen=True)
class System:
    """A product with one setting. `persists` tells what the measured work leaves behind."""

    product: str
    setting: str
    persists: str

    @property
    def name(self) -> str:
        return f"{self.product} ({self.setting})"

    def takes_part(self, measure: str, case: str) -> bool:
        """Whether that figure has a meaning for it; if not, its cell stays empty."""
        return measure in ("accept", "drain") and case != OWN_SETTING

    def site(self, processes: Processes) -> Site:
        raise NotImplementedError
