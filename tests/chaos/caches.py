"""A cache of the project's that does nothing but raise: the job system is not to ask it."""

from __future__ import annotations

from typing import Any, NoReturn

from django.core.cache.backends.base import BaseCache


class Broken(BaseCache):
    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def _raise(self, *arguments: Any, **options: Any) -> NoReturn:
        raise NotImplementedError("this cache is broken")

    add = get = set = touch = delete = clear = has_key = incr = get_many = set_many = delete_many = _raise
