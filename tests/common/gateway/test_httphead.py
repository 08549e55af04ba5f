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
    # With a CR before it, "\n\n" ends none.
    data = b"a\rb" + head.replace(b"\r\n\r\n", b"") + b"\r\n\r\n" + rest
    end = data.index(b"\r\n\r\n") + 4
    found, at = Head(), 0
    for size in [*cuts, len(data)]:
        if found.feed(data[at : at + size]):
            break
        at += size
    assert found.complete
    assert bytes(found.data) == data[:end]
    assert data[end:].startswith(found.rest)


@PROPERTY
@given(st.lists(st.integers(1, 20)), st.binary(max_size=50))
def test_a_head_typed_without_carriage_returns_ends_too(cuts: list[int], rest: bytes) -> None:
    data = b"GET /live HTTP/1.1\nHost: a\n\n" + rest
    found, at = Head(), 0
    for size in [*cuts, len(data)]:
        if found.feed(data[at : at + size]):
            break
        at += size
    assert bytes(found.data) == b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n"
    assert rest.startswith(found.rest)


def test_lf_alone_ends_no_line_beside_others() -> None:
    mixed = Head()
    assert not mixed.feed(b"GET / HTTP/1.1\r\nA: b\nC: d\n\n")
    assert mixed.feed(b"\r\n\r\n")
    assert b"A: b\nC: d\n\n\r\n" in mixed.data


def test_a_head_has_an_upper_bound() -> None:
    fits = Head()
    assert fits.feed(b"x" * (MAX_BYTES - 4) + b"\r\n\r\nrest")
    assert fits.rest == b"rest"
    for data in (b"x" * (MAX_BYTES - 3) + b"\r\n\r\n", b"x" * (MAX_BYTES + 1)):
        with pytest.raises(HeadTooLargeError):
            Head().feed(data)


@PROPERTY
@given(st.lists(st.integers(1, 40)), st.binary(max_size=50))
def test_interim_answers_are_passed_over_however_they_are_cut(cuts: list[int], rest: bytes) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"
    data = interim + final + rest
    found, at = Head(of_answer=True), 0
    for size in [*cuts, len(data)]:
        if found.feed(data[at : at + size]):
            break
        at += size
    assert bytes(found.data) == final
    assert rest.startswith(found.rest)


@pytest.mark.parametrize("line", [b"HTTP/1.1 1x0", b"HTTP/1.1 200 100", b"GET / HTTP/1.1", b"1"])
def test_what_is_no_interim_answer_is_kept(line: bytes) -> None:
    found = Head(of_answer=True)
    assert found.feed(line + b"\r\n\r\nrest")
    assert bytes(found.data) == line + b"\r\n\r\n"
    request = Head()
    assert request.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
