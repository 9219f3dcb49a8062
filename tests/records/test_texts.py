"""What handlers may return: JSON that both databases store, and the same whichever encoder writes it."""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any

import orjson
import pytest

from jobs.texts import Unstorable, to_json

Pair = namedtuple("Pair", "a b")
SOME = uuid.UUID(int=7)


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    YES = "yes"


@dataclass
class Point:
    x: int


SAME = [
    ({"value": ["one", 2, 2.5, True]}, '{"value":["one",2,2.5,true]}'),
    ("žluť\u2028\x7f", '"žluť\u2028\x7f"'),
    ((1, (2,)), "[1,[2]]"),
    (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
    (2**63 - 1, "9223372036854775807"),
    (Word.YES, '"yes"'),
    (Colour.RED, '"red"'),
    (SOME, f'"{SOME}"'),
    # What orjson leaves to the standard library:
    (Pair(1, None), "[1,null]"),
    ({1: "a", None: "b"}, '{"1":"a","null":"b"}'),
    ({"nothing": None, "id": SOME, "colour": Colour.RED}, f'{{"nothing":null,"id":"{SOME}","colour":"red"}}'),
    ([Pair(SOME, Colour.RED)], f'[["{SOME}","red"]]'),
]


@pytest.mark.parametrize(("document", "text"), SAME, ids=[str(number) for number in range(len(SAME))])
def test_json_is_written(document: Any, text: str) -> None:
    assert to_json(document, 1000) == text
    json.loads(text)


NO_JSON = [math.nan, [None, math.inf], {"a": {"b": -math.inf}}, dt.datetime.now(dt.UTC), dt.date(2026, 1, 1), Point(1),
           Decimal(1), {1, 2}, b"bytes", object()]  # fmt: skip


@pytest.mark.parametrize("document", NO_JSON, ids=[str(number) for number in range(len(NO_JSON))])
def test_what_is_no_json_is_refused(document: Any) -> None:
    with pytest.raises(Unstorable, match="cannot be stored as JSON"):
        to_json(document, 1000)


def repr_of(document: Any) -> str:
    return "a fragment" if document is FRAGMENT else ascii(document)


FRAGMENT = {"of somebody else": orjson.Fragment(b'"\\ud83d"')}


@pytest.mark.parametrize("document", ["a\x00b", 2**63, -(2**63) - 1, 2**64, "\ud800", FRAGMENT], ids=repr_of)
def test_what_a_database_refuses_is_refused(document: Any) -> None:
    with pytest.raises(Unstorable):
        to_json(document, 1000)


def test_what_is_too_large_or_too_deep_is_refused() -> None:
    with pytest.raises(Unstorable, match="it has 1003 bytes"):
        to_json("ž" * 500 + "x", 1000)
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(Unstorable):
        to_json(deep, 10_000)
