"""The API is killed in mid-request, 200 times under load: nothing lost, nothing double, every replay the first job."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from http.client import HTTPException

import pytest

from jobs.models import Event, IdempotencyKey, Job
from tests.real.watching import all_reached, assert_lawful
from tests.support.eventually import eventually
from tests.support.world import World

KILLS = 200
CLIENTS = 8
SEED = 5


class Client(threading.Thread):
    """Submits under one key after the other, each until it is answered."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.world = world
        self.stopping = threading.Event()
        self.ids: dict[str, str] = {}
        """The id that each key was answered with."""

        self.cut = 0
        """Requests that were sent and got no answer."""

        self.replayed = 0
        """Those of them that turned out to be accepted."""

        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            key = f"{self.name}-{len(self.ids)}"
            was_cut = False
            while (answer := self.ask(key)) is None:
                was_cut = True
            status, self.ids[key] = answer
            self.replayed += status == 200
            if status not in (200, 202) or (status == 200 and not was_cut):
                self.wrong.append(f"{key} was answered {status}")

    def ask(self, key: str) -> tuple[int, str] | None:
        """Status and id; None when the server was killed over it. Waits where there is none."""
        body = {"type": "echo", "payload": {"value": key}, "idempotencyKey": key}
        while True:
            try:
                reply = self.world.call("POST", "/api/jobs", body)
                return reply.status, str(reply.json().get("id"))
            except ConnectionRefusedError:
                time.sleep(0.01)
            except (OSError, HTTPException, ValueError):
                self.cut += 1
                return None


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_an_api_killed_200_times_in_mid_request_loses_and_doubles_nothing(world: World) -> None:
    world.note(f"seed {SEED}")
    dice = random.Random(SEED)
    server = world.serve()
    clients = [Client(world, f"client-{number}") for number in range(CLIENTS)]
    for client in clients:
        client.start()
    in_mid_request = 0
    while in_mid_request < KILLS:
        cut, answered = _sum(clients)
        wanted = answered + dice.randrange(1, 40)
        eventually(lambda wanted=wanted: _sum(clients)[1] >= wanted, timeout_s=30, every_s=0.001)  # type: ignore[misc]
        time.sleep(dice.random() * 0.02)  # anywhere in a commit
        os.kill(server.pid, signal.SIGKILL)
        server.wait(5)
        server = world.serve()
        in_mid_request += _sum(clients)[0] > cut
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(60)
        assert not client.is_alive()
        assert client.wrong == []
    ids = {key: job_id for client in clients for key, job_id in client.ids.items()}
    cut, answered = _sum(clients)
    replayed = sum(client.replayed for client in clients)
    assert replayed > 0, "no kill fell between a commit and its answer: try more"
    assert {job.key: str(job.id) for job in Job.objects.all()} == ids, "lost or double"
    assert IdempotencyKey.objects.count() == len(ids)
    for client in clients:
        for key, job_id in client.ids.items():
            assert client.ask(key) == (200, job_id)
    world.worker()
    all_reached([job.id for job in Job.objects.all()], "succeeded", timeout_s=120)
    assert Event.objects.filter(event="start").count() == len(ids)
    assert_lawful(world)
    world.note(
        f"{in_mid_request} kills in mid-request: {answered} jobs accepted, {cut} requests cut, {replayed} of them"
        " were committed and answered 200 when asked again; lost 0, double 0"
    )


def _sum(clients: list[Client]) -> tuple[int, int]:
    """(requests cut, jobs answered)."""
    return sum(client.cut for client in clients), sum(len(client.ids) for client in clients)
