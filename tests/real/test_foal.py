"""The fork that becomes a worker's first horse: what it does before it is one, and who follows it."""

from __future__ import annotations

from pathlib import Path

from tests.real.watching import echo, horse_pid, kill, reached
from tests.support.eventually import eventually
from tests.support.world import World

ENDS = """
import os, threading, time
from jobs import process
from jobs.foal import Foal

def end(foal):
    while foal.poll() is None:
        time.sleep(0.01)
    return foal.returncode

alone = process.has_one_thread()
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
killed, forgotten = Foal(), Foal()
print("threads", alone, process.has_one_thread())
print("groups", [os.getpgid(foal.pid) == foal.pid for foal in (killed, forgotten)])
os.kill(killed.pid, 9)
channel = os.open(os.devnull, os.O_RDONLY)
killed.grow(["jobs_horse"], channel)
print("killed", end(killed))
forgotten._pipe.close()
print("forgotten", end(forgotten))
wrong = Foal()
wrong.grow(["jobs_horse", "--lease=none"], channel)
print("wrong", end(wrong))
"""


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def start_of(pid: int) -> bytes:
    """What the kernel told the program, random addresses among it: the same in a fork, and never in another program."""
    return Path(f"/proc/{pid}/auxv").read_bytes()


def test_one_that_comes_to_nothing_ends_and_is_found_dead(world: World) -> None:
    code, said = world.run("shell", "-c", ENDS)
    assert code == 0, said
    words = said.splitlines()
    assert "threads True False" in words
    assert "groups [True, True]" in words
    assert "killed -9" in words
    assert "forgotten 1" in words
    assert "wrong 1" in words


def test_the_first_horse_is_a_fork_and_the_next_one_a_program(world: World) -> None:
    worker = world.worker()
    first = horse_pid()
    assert start_of(first) == start_of(worker.pid)
    assert "jobs_horse" in command(first)
    kill(first)
    reached(echo(), "succeeded")
    second = eventually(lambda: found if (found := horse_pid()) != first else 0)
    assert start_of(second) != start_of(worker.pid)
    assert "jobs_horse" in command(second)
