"""The head of an HTTP message, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kojuto.common.gateway.httphead import MAX_BYTES, Head, HeadTooLargeError

PROPERTY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@PROPERTY
@given(st.binary(max_size=200), st.lists(st.integers(1, 20)), st.binary(max_size=50))
def test_a_head_is_found_however_it_is_cut(head: bytes, cuts: list[int], rest: bytes) -> None:
    data = head.replace(b"\r\n\r\n", b"") + b"\r\n\r\n" + rest
    end = data.index(b"\r\n\r\n") + 4
    found, at = Head(), 0
    for size in [*cuts, len(data)]:
        if found.feed(data[at : at + size]):
            break
        at += size
    assert found.complete
    assert bytes(found.data) == data[:end]
    assert data[end:].startswith(found.rest)


def test_a_head_has_an_upper_bound() -> None:
    fits = Head()
    assert fits.feed(b"x" * (MAX_BYTES - 4) + b"\r\n\r\nrest")
    assert fits.rest == b"rest"
    for data in (b"x" * (MAX_BYTES - 3) + b"\r\n\r\n", b"x" * (MAX_BYTES + 1)):
        with pytest.raises(HeadTooLargeError):
            Head().feed(data)
