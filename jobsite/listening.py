"""Where the web server listens, and the address under which a person on this machine reaches it."""

from __future__ import annotations

import errno
import socket

from django.conf import settings
from django.core.management.base import CommandError
from django.http.request import validate_host

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, not listened on
"""Addresses that stand for all of a machine's, each with one that can be asked."""

PORT_MAX = 65_535
"""Larger ones are wrapped around by `getaddrinfo`."""

OF_THE_PORT = (errno.EADDRINUSE, errno.EACCES)


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, made here so that a port that is taken is one sentence. Raises CommandError."""
    host = _bare(host)
    try:
        if not 0 <= port <= PORT_MAX:
            raise OverflowError(f"ports are 0 to {PORT_MAX}")
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = next((one for one in found if host or one[0] == socket.AF_INET), found[0])
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: a name of a form that no host has
        reason = getattr(error, "strerror", None) or error
        is_port = isinstance(error, OverflowError) or getattr(error, "errno", None) in OF_THE_PORT
        option = "--port" if is_port else "--host"
        raise CommandError(f"Cannot listen on {in_url(host)}:{port}: {reason}. Choose another with {option}.") from None
    return listener


def url(host: str, port: int) -> str:
    """The address to ask, with the prefix of FORCE_SCRIPT_NAME; `serve` answers with and without it."""
    return origin(host, port) + (settings.FORCE_SCRIPT_NAME or "").rstrip("/")


def origin(host: str, port: int) -> str:
    return f"http://{in_url(asked(host))}:{port}"


def asked(host: str) -> str:
    """The host that reaches a server which listens on `host`."""
    return EVERYWHERE.get(_bare(host), _bare(host))


def in_url(host: str) -> str:
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def allowed_host(host: str) -> str | None:
    """A name that the site answers to: `host` where it may be asked for, else the first that ALLOWED_HOSTS spells out."""
    if is_allowed(host):
        return in_url(asked(host))
    return next((name for name in settings.ALLOWED_HOSTS if not name.startswith((".", "*"))), None)


def is_allowed(host: str) -> bool:
    return validate_host(in_url(asked(host)).lower(), settings.ALLOWED_HOSTS)


def warning(host: str) -> str | None:
    """What to do where the address of `url` would be answered 400."""
    if is_allowed(host):
        return None
    others = " ".join(settings.ALLOWED_HOSTS) or "nothing"
    return f"ALLOWED_HOSTS has {others}: a request for {in_url(asked(host))} is answered 400 until it is added."


def _bare(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host
