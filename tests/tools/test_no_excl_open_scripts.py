"""`no-excl-open doctor` on scripts: what they start, and what takes LD_PRELOAD away there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.no_excl_open.scripts import what_clears
from tests.conftest import need_program, run

if TYPE_CHECKING:
    from pathlib import Path

DEBIAN = """# a comment on logrotate
if [ ! -x /usr/sbin/logrotate ]; then
    exit 0
fi
/usr/sbin/logrotate /etc/logrotate.conf
/usr/bin/logger -t logrotate "ALERT"
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (DEBIAN, None), ("exec nice -5 logrotate x", None), ("x=$(logrotate x)", None),
        ("sudo true; logrotate x", None), ("env -i true && logrotate x", None),
        ("sh -c 'logrotate x'", None), ("{inner}", None), ("pseudo logrotate", None),
        ("exit 0 # logrotate", "nothing in it starts logrotate"),
        ("[ -x /usr/sbin/logrotate ]", "nothing in it starts logrotate"),
        ("logger -t logrotate x", "nothing in it starts logrotate"),
        ("sudo -u x logrotate", "line 2 starts logrotate by 'sudo', which takes LD_PRELOAD away"),
        ("env -i A=b logrotate", "line 2 starts logrotate by 'env -i'"),
        ("su - -c 'logrotate x'", "line 2 starts logrotate by 'su -'"),
        ("systemd-run logrotate x", "line 2 starts logrotate by 'systemd-run'"),
        ("systemd-run --scope -q logrotate x", None), ("systemd-cat logrotate x", None),
        ("env -u LD_PRELOAD logrotate x", "line 2 starts logrotate by 'env -u LD_PRELOAD'"),
    ],
)  # fmt: skip
def test_a_script_is_followed_to_the_program(body: str, reason: str | None, tmp_path: Path) -> None:
    need_program("logrotate")
    inner, script = tmp_path / "logrotate", tmp_path / "daily"
    inner.write_text(f"#!/bin/sh\n{DEBIAN}")
    script.write_text("#!/bin/sh\n" + body.format(inner=inner))
    for path in (inner, script):
        path.chmod(0o755)
    done = run("no-excl-open", "doctor", "--dir", tmp_path, script)
    told = done.stdout.decode().splitlines()[1]
    assert done.returncode == (0 if reason is None else 1), told
    if reason is None:
        assert told == f"{script}: can be run under the shim"
    else:
        assert told.startswith(f"{script}: cannot be run under the shim: ")
        assert reason in told


def test_a_program_that_takes_it_away_from_what_it_starts(tmp_path: Path) -> None:
    need_program("systemd-run")
    need_program("systemd-cat")
    done = run("no-excl-open", "doctor", "--dir", tmp_path, "systemd-run", "systemd-cat")
    told = done.stdout.decode().splitlines()
    assert told[1].endswith(
        "systemd-run: cannot be run under the shim: it takes LD_PRELOAD away from what it starts; "
        "put no-excl-open behind it"
    )
    assert told[2].endswith("systemd-cat: can be run under the shim")
    assert done.returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="a file of root's needs root")
def test_a_setuid_program_takes_it_away_for_all_but_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_bytes(b"")
    wrapper.chmod(0o4755)
    command = ["nice", str(wrapper), "-n"]
    assert what_clears(command) is None
    monkeypatch.setattr(os, "getuid", lambda: 65534)
    assert what_clears(command) == str(wrapper)
