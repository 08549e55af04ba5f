"""The log of a server: its fields."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_fields_of_a_log_line_are_spelled_with_dashes() -> None:
    code = (
        "from kojuto.common.server.logs import Logger\n"
        "log = Logger()\n"
        "log.info('said', user_name='a_b', class_=1, plain=2)\n"
        "log.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    line = json.loads(done.stderr)
    assert list(line) == ["level", "ts", "msg", "user-name", "class", "plain"]
    assert line["user-name"] == "a_b"
