"""`no-excl-open doctor` on scripts: what they start, and what takes LD_PRELOAD away there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
