"""A network of its own for one worker, on cables that can be unplugged: what is cut off gets no reset, only silence.

By network namespaces; each cable ends in a bridge that holds our address, so both sides keep their link when it is cut.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator

NETWORK = "198.18.0.0/15"
"""For tests of networks, RFC 2544: nobody's."""


class Islet:
    def __init__(self, *cables: str) -> None:
        self.name = f"jobs-{secrets.token_hex(4)}"
        self._octet = 1 + secrets.randbelow(250)
        self._ends = {cable: f"j{secrets.token_hex(4)}{number}" for number, cable in enumerate(cables)}

    def program(self, *command: str) -> list[str]:
        """The command, run inside."""
        return ["ip", "netns", "exec", self.name, *command]

    def address(self, cable: str) -> str:
        """Ours, as it is reached from inside."""
        return self._address(cable, 1)

    def unplug(self, cable: str) -> None:
        self._plug(cable, "disabled")

    def plug(self, cable: str) -> None:
        self._plug(cable, "forwarding")

    def build(self) -> None:
        _run("ip", "netns", "add", self.name)
        _run("ip", "-n", self.name, "link", "set", "lo", "up")
        for cable, end in self._ends.items():
            bridge = f"{end}b"
            _run("ip", "link", "add", bridge, "type", "bridge")
            _run("ip", "address", "add", f"{self.address(cable)}/24", "dev", bridge)
            _run("ip", "link", "set", bridge, "up")
            _run("ip", "link", "add", end, "type", "veth", "peer", "name", end, "netns", self.name)
            _run("ip", "link", "set", end, "master", bridge, "up")
            _run("ip", "-n", self.name, "address", "add", f"{self._address(cable, 2)}/24", "dev", end)
            _run("ip", "-n", self.name, "link", "set", end, "up")

    def remove(self) -> None:
        for end in self._ends.values():
            _run("ip", "link", "delete", f"{end}b")
            _run("ip", "link", "delete", end)
        _run("ip", "netns", "delete", self.name)

    def _address(self, cable: str, host: int) -> str:
        number = list(self._ends).index(cable)
        return f"198.{18 + number}.{self._octet}.{host}"

    def _plug(self, cable: str, state: str) -> None:
        end = self._ends[cable]
        _run("bridge", "link", "set", "dev", end, "state", {"disabled": "0", "forwarding": "3"}[state])
        found = subprocess.run(["bridge", "link", "show", "dev", end], capture_output=True, text=True, check=True)
        assert f"state {state}" in found.stdout, found.stdout


def why_not() -> str:
    """Why this machine can have none; empty: it can."""
    if os.getuid() or not (shutil.which("ip") and shutil.which("bridge")):
        return "needs root and iproute2"
    probe = Islet("probe")
    try:
        probe.build()
    except subprocess.CalledProcessError as error:
        with contextlib.suppress(subprocess.CalledProcessError):
            probe.remove()
        return f"needs network namespaces: {error.stderr.decode().strip()}"
    probe.remove()
    return ""


@contextlib.contextmanager
def built(*cables: str) -> Iterator[Islet]:
    islet = Islet(*cables)
    islet.build()
    try:
        yield islet
    finally:
        islet.remove()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
