"""HTTP requests to addresses that somebody else chose: guarded against reaching our own network.

A name is resolved once, all its addresses are judged, and the connection goes to the address that was
judged, so that a name cannot change its mind in between. Redirects are not followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from jobs.conf import conf
from jobs.errors import Permanent

TIMEOUT_S = 10.0
"""For connecting and for each wait on the other side."""

MOST_BYTES = 65_536
"""Of an answer's body: nobody reads it, but a short one lets the connection end in peace."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]


def request(method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One request. Raises Permanent for a URL that must not be reached, OSError or HTTPException else."""
    parts = checked_url(url)
    address = _judged_address(parts)
    host = parts.hostname or ""
    connection = _Pinned(host, _port(parts), address, is_tls=parts.scheme == "https")
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body=body, headers={"User-Agent": "jobs/1", **(headers or {})})
        response = connection.getresponse()
        response.read(MOST_BYTES)
        return Answer(response.status, dict(response.getheaders()))
    finally:
        connection.close()


def checked_url(url: str) -> SplitResult:
    """The parts of an http or https URL without credentials. Raises Permanent."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not url.isascii() or any(ord(character) <= 32 for character in url):
        raise Permanent("bad-url", "an http or https URL is needed")
    if parts.username is not None or parts.password is not None:
        raise Permanent("bad-url", "a URL with credentials in it is not used")
    return parts


def is_public(address: str) -> bool:
    """Whether an IP address may be reached: no private, loopback, link-local, shared or reserved one."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def _judged_address(parts: SplitResult) -> str:
    found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not conf().webhook_allow_private and not all(is_public(address.partition("%")[0]) for address in addresses):
        raise Permanent("blocked-address", f"{parts.hostname} leads to an address that must not be reached from here")
    return addresses[0]


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


class _Pinned(http.client.HTTPConnection):
    """Speaks for `host`, but connects to the address that was judged."""

    def __init__(self, host: str, port: int, address: str, *, is_tls: bool) -> None:
        super().__init__(host, port, timeout=TIMEOUT_S)
        self._address = address
        self._is_tls = is_tls
        self.default_port = 443 if is_tls else 80

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._is_tls:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)
