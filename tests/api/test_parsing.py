"""JSON is read strictly, whether or not its form allows the short way."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.api.parsing import loads
from jobs.errors import MalformedRequest

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(documents)
def test_a_document_is_read_as_it_was_written(document: Any) -> None:
    """Types count as well: 1 is not 1.0, and a long integer is no float."""
    assert repr(loads(json.dumps(document).encode())) == repr(document)
    assert repr(loads(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())) == repr(document)


@pytest.mark.parametrize("space", [b"", b" "])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"a":1,"a":1}', "duplicate-member"),
        (b'{"a":{"b":1,"b":2}}', "duplicate-member"),
        (b'{"a":NaN}', "not-finite"),
        (b'{"a":1}{', "not-json"),
        (b'{"a":"\xff"}', "not-utf-8"),
        (b"[" * 100 + b"]" * 100, "too-deep"),
    ],
)
def test_what_two_readers_might_read_in_two_ways_is_refused(body: bytes, code: str, space: bytes) -> None:
    with pytest.raises(MalformedRequest) as refused:
        loads(body + space)
    assert [error["code"] for error in refused.value.errors] == [code]


@pytest.mark.parametrize("body", [b"-0", b"1e2", b"1.50", b'{"a":1e400}', b"18446744073709551616", b'"\\u00e9"'])
def test_numbers_and_texts_in_another_form_are_read_by_the_standard_library(body: bytes) -> None:
    assert repr(loads(body)) == repr(json.loads(body))


def test_what_orjson_wrote_is_read() -> None:
    assert loads(orjson.dumps({"a": [1, 1.5, "é"]})) == {"a": [1, 1.5, "é"]}
