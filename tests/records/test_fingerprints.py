"""Equal requests have equal fingerprints, however their JSON was written; others do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.canonical import canonical, differing_pointers, fingerprint, new_salts, of_request

SALT = b"s" * 16

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def of(payload: Any) -> bytes:
    return fingerprint(SALT, of_request("echo", payload, {}))


@given(st.dictionaries(st.text(), documents, max_size=5))
def test_neither_spaces_nor_the_order_of_names_matter(payload: dict[str, Any]) -> None:
    written = json.dumps(dict(reversed(payload.items())), indent=3)
    assert of(json.loads(written)) == of(payload)


def integral(document: Any) -> Any:
    if isinstance(document, float) and document.is_integer() and abs(document) < 2**63:
        return int(document)
    if isinstance(document, dict):
        return {name: integral(value) for name, value in document.items()}
    return [integral(value) for value in document] if isinstance(document, list) else document


@given(st.dictionaries(st.text(), documents, max_size=5))
def test_the_canonical_form_is_what_the_standard_library_writes(payload: dict[str, Any]) -> None:
    """Fingerprints are stored for a year: whoever makes the form faster must not change it."""
    written = json.dumps(integral(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical(payload) == written.encode()


@given(documents, documents)
def test_documents_differ_where_their_fingerprints_do(first: Any, second: Any) -> None:
    assert (of(first) == of(second)) == (differing_pointers(first, second) == [])


@pytest.mark.parametrize(
    ("first", "second"), [(1, 1.0), (0, -0.0), (10**18, 1e18), ([1.0], [1]), ((1.0, 2), [1, 2]), ({"a": 2.0}, {"a": 2})]
)
def test_one_number_is_itself_however_it_is_written(first: Any, second: Any) -> None:
    assert of(first) == of(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, True), (0, False), (1, "1"), (None, {}), ([], {}), (2**53, 2**53 + 1), (0.1, 0.2), ("e\u0301", "\xe9")],
)
def test_what_json_tells_apart_is_told_apart(first: Any, second: Any) -> None:
    assert of(first) != of(second)


def test_type_and_options_count_as_well() -> None:
    assert (
        len(
            {
                of({}),
                fingerprint(SALT, of_request("other", {}, {})),
                fingerprint(SALT, of_request("echo", {}, {"queue": "low"})),
            }
        )
        == 3
    )


def test_equal_requests_under_different_keys_cannot_be_recognised() -> None:
    one, other = new_salts(2)
    assert len(one) == len(other) == 16
    assert fingerprint(one, of_request("echo", {}, {})) != fingerprint(other, of_request("echo", {}, {}))


def test_differences_are_told_by_pointers_and_not_by_values() -> None:
    first = {"a": {"b/c": [1, 2]}, "same": 1, "gone": "secret"}
    second = {"a": {"b/c": [1, 3]}, "same": 1, "new~": "secret"}
    assert differing_pointers(first, second) == ["/a/b~1c/1", "/gone", "/new~0"]
    assert differing_pointers([1], [1, 2], "/l") == ["/l"]
    assert len(differing_pointers({}, {str(i): i for i in range(50)})) == 20
