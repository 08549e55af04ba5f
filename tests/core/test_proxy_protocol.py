"""The PROXY protocol parser gives the expected answer for every vector, cut at every byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kojuto._native import parse_proxy_header
from tests.conftest import corpus

CASES: list[dict[str, Any]] = json.loads(corpus("proxy-protocol/proxy_vectors.json").read_text())[
    "cases"
]
STRICT = {"open-064", "open-065", "open-066"}
"""Left open by the specification: a wrong CRC32c or TLV area, which haproxy and we refuse."""


def answer(data: bytes) -> tuple[str, dict[str, Any] | None]:
    try:
        return parse_proxy_header(data)
    except ValueError as error:
        if not str(error):
            raise
        return "wrong", None


def test_the_vectors_are_there() -> None:
    verdicts = {case["expected"]["verdict"] for case in CASES}
    assert verdicts == {"valid", "invalid", "incomplete", "either"}
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_vector(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"]) if case.get("hex") else case["text"].encode("latin-1")
    expected = case["expected"]
    verdict = expected["verdict"]
    step, header = answer(data)
    if verdict == "incomplete":
        assert step == "more"
    elif verdict == "invalid" or case["id"] in STRICT:
        assert step in ("wrong", "none")
    else:
        assert step == "done"
        assert header is not None
        assert header["length"] == expected["header_len"]
        assert header["version"] == expected["version"]
        assert header["local"] == (expected.get("command") == "LOCAL")
        assert header["checked"] == expected.get("crc32c_ok", False)
        if expected.get("src") is None or header["local"]:
            assert "source" not in header
        elif expected["transport"].startswith("UNIX"):
            assert header["source"] == expected["src"].encode()
            assert header["destination"] == expected["dst"].encode()
        else:
            assert header["source"] == (expected["src"], expected["src_port"])
            assert header["destination"] == (expected["dst"], expected["dst_port"])
        assert header["datagram"] == expected.get("transport", "").startswith("UDP")
        tlvs = [(int(tlv["type"], 16), bytes.fromhex(tlv["value_hex"]))
                for tlv in expected.get("tlvs", [])]  # fmt: skip
        assert header["tlvs"] == tlvs
    # The same answer byte by byte: more, more, …, and never something else in between.
    end = expected["header_len"] if step == "done" else len(data)
    for cut in range(end):
        early, _ = answer(data[:cut])
        if step in ("done", "more"):
            assert early == "more", f"after {cut} bytes"
        else:
            assert early in ("more", step), f"after {cut} bytes"
    if step == "done":
        assert answer(data[:end]) == (step, header)
        assert answer(data + b"\r\n\r\nmore") == (step, header)
