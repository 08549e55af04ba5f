"""What the plugin reads of /proc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kojuto.tools.process_status import procfs

if TYPE_CHECKING:
    import pytest


def test_no_limit_of_files_and_a_family_that_is_its_own_ancestor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = "Max open files            {}                 1048576              files     \n"
    for word, limit in (("unlimited", (1 << 63) - 1), ("1024", 1024)):
        monkeypatch.setattr(procfs, "read", lambda _, word=word: line.format(word))
        assert procfs.fd_limit(1) == limit

    def stat(pid: int, parent: int) -> procfs.Stat:
        return procfs.Stat(f"{pid} (x) S {parent}" + " 0" * 20)

    # Read at different moments, a pid that came again can seem to be its own grandparent.
    everything = [stat(1, 3), stat(2, 1), stat(3, 2)]
    tree = procfs.with_descendants(everything[0], everything)
    assert [each.pid for each in tree] == [1, 2, 3]
