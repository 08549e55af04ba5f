"""Statements in other scripts and character sets, and very long ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kojuto.tools.myps.statements import SHOWN_BYTES, as_utf8, by_guess, is_cut
from tests.peers.myps import ids, myps, no_settings_of_ours, rows, shop, threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers.mariadb import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shop() as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("utf8mb4", "日本 🙂 ü"),
        ("latin1", "grün, naïve"),
        ("latin1", "10 €"),
        ("cp932", "全件検索"),
        ("gbk", "中文"),
        ("koi8r", "запрос"),
    ],
)
def test_a_statement_is_shown_as_it_was_sent(charset: str, words: str, server: Server) -> None:
    sql = f"SELECT SLEEP(600), '{words}'"
    how = {"user": "app1", "charset": charset}
    with threads(server, (sql, how), ("SELECT SLEEP(600)", {"user": "app2"})) as (thread, _):
        found = rows(myps(server, "grep", "--user", "app_").stdout)
        assert {row["INFO"] for row in found} == {sql, "SELECT SLEEP(600)"}
        done = myps(server, "kill", "--yes", "--user", "app1")
        assert [row["INFO"] for row in rows(done.stdout, "KILLED")] == [sql]
        thread.join(10)
        assert not thread.is_alive()


def test_a_statement_is_found_by_its_emoji_and_by_no_other(server: Server) -> None:
    with threads(server, ("SELECT SLEEP(600), 'one 🙂 two'", {"user": "app1"})) as (thread,):
        for pattern in ("%🙂%", "%one _ TWO%", "select%"):
            assert ids(myps(server, "grep", "--info", pattern).stdout) == {thread.id}
        for pattern in ("%🍣%", "%?%", "%one __ two%"):
            assert myps(server, "grep", "--info", pattern).returncode == 1


def cut(number: int) -> bytes:
    return f"myps: {number}: statement cut at 65,535 bytes, as the server has it\n".encode()


@pytest.mark.parametrize("letter", ["x", "ü", "全", "🙂"])
def test_a_statement_longer_than_the_server_lists_is_said_to_be_cut(
    letter: str, server: Server, tmp_path: Path
) -> None:
    sql = "SELECT SLEEP(600), '" + letter * 70_000 + "'"
    whole = "SELECT SLEEP(600), '" + "x" * 60_000 + "'"
    both = ((sql, {"user": "app1"}), (whole, {"user": "app1"}))
    with threads(server, *both) as (long, short):
        done = myps(server, "grep", "--user", "app1", "--full")
        shown = {int(row["ID"]): row["INFO"] for row in rows(done.stdout)}
        assert shown[short.id] == whole
        assert sql.startswith(shown[long.id])
        assert 65_532 <= len(shown[long.id].encode()) <= 65_535
        assert done.stderr == cut(long.id)
        assert myps(server, "grep", "--user", "app1").stderr == b""
        log = ["--log", str(tmp_path / "log")]
        done = myps(server, "kill", "--yes", "--user", "app1", *log)
        assert done.stderr == cut(long.id)


@given(st.text(min_size=1, max_size=3), st.integers(0, 3))
def test_a_cut_takes_no_more_than_one_character(text: str, ahead: int) -> None:
    sent = ("x" * ahead + text * SHOWN_BYTES).encode("utf-8", "ignore")[:SHOWN_BYTES]
    shown = as_utf8(sent)
    assert shown is not None
    assert len(sent) - 3 <= len(shown.encode()) <= len(sent)
    assert sent.startswith(shown.encode())


@given(st.binary(max_size=40))
def test_any_bytes_have_a_text(sent: bytes) -> None:
    assert not is_cut(sent)
    try:
        assert as_utf8(sent) == sent.decode()
    except UnicodeDecodeError:
        assert as_utf8(sent) is None
        assert len(by_guess(sent)) == len(sent)
