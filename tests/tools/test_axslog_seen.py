"""mackerel-plugin-axslog: forms of lines that other readers were reported to fail on."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, read_metrics, run
from tests.peers.axslog import PROG, write

if TYPE_CHECKING:
    from pathlib import Path

HEAD = '10.0.0.1 - - [28/Aug/2019:10:39:56 +0000] "GET /a HTTP/1.1" 200 1962 "-"'


@pytest.mark.parametrize(
    ("line", "options", "seconds"),
    [
        (f'{HEAD} "ua" rt=0 uct="-" uht="-" urt="-"', ["--format", "auto"], "0.000000"),
        (f'{HEAD} "Java/1.8.0_144"rt=0.024 uct="0.001 : 0.001"', ["--format", "auto"], "0.024000"),
        (f'{HEAD} "ua" upstream_response_time="0.004"',
         ["--format", "combined", "--time-field", "upstream_response_time"], "0.004000"),
        (f'{HEAD} "ua" urt="0.005 : 0.019"',
         ["--format", "combined", "--time-field", "urt", "--time-list", "last"], "0.019000"),
        (f'{HEAD} "ua" "-" "-"', ["--format", "combined"], None),
        (f'{HEAD} "Mozilla/4.0 (Windows NT 5.1)"3.076', ["--format", "combined"], "3.076000"),
        (f'www.example.com {HEAD} "ua" scheme="https"', ["--format", "combined"], None),
        (HEAD.replace("- - [", "-  [") + ' "ua" 0.5', ["--format", "combined"], "0.500000"),
        ('10.0.0.1 - - [t] "GET /c HTTP/1.1" 101 24 6.890 "-" "ua"',
         ["--format", "combined", "--time-field", "8"], "6.890000"),
        ('10.0.0.1 - - [t] "GET /c HTTP/1.1" 0.123 404 17 "-" "ua" "-" "TLSv1.3/X"',
         ["--log-format", '$remote_addr - $remote_user [$time_local] "$request" $request_time '
          '$status $body_bytes_sent "$http_referer" "$http_user_agent"'], "0.123000"),
        ('10.0.0.1 - - [t] 115030 "GET / HTTP/1.1" 200 2 "-" "ua"',
         ["--log-format", '%h %l %u %t %D "%r" %>s %b "%{Referer}i" "%{User-agent}i"'], "0.115030"),
        ('[t] client=10.0.0.1 request="GET / HTTP/1.1" status=200 request_time=0.016 '
         "upstream_response_time=0.000, 0.016 subnet=x",
         ["--log-format", '[$time_local] client=$remote_addr request="$request" status=$status '
          "request_time=$request_time upstream_response_time=$upstream_response_time subnet=$host",
          "--time-field", "upstream_response_time", "--time-list", "sum"], "0.016000"),
        ('{"status":200,"request_time":"0.004","upstream_response_time":""}',
         ["--format", "auto"], "0.004000"),
    ],
)  # fmt: skip
def test_a_line_that_others_fail_on_counts(
    line: str, options: list[str], seconds: str | None, tmp_path: Path, workdir: Path
) -> None:
    log = write(tmp_path / "log", line)
    done = run(PROG, "--once", "--logfile", log, "--key-prefix", "t", *options)
    assert (done.returncode, done.stderr) == (0, b"")
    metrics = read_metrics(done.stdout)
    assert metrics.get("axslog.latency_t.average") == seconds
    shares = [metrics[f"axslog.access_ratio_t.{n}xx_percentage"] for n in range(1, 6)]
    assert sorted(shares)[-1] == "100.000000"


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="this kernel has no FUSE")
def test_a_writer_that_fuse_hides_still_has_its_lines_counted(tmp_path: Path) -> None:
    below, log = tmp_path / "below", tmp_path / "seen" / "log"
    below.mkdir()
    log.parent.mkdir()
    subprocess.run([need_program("bindfs"), below, log.parent], check=True)
    line = "status:200\tptime:0.1\n"
    try:
        with open(below / "log", "a", encoding="utf-8") as late:
            late.write(line * 10)
            late.flush()
            run(PROG, "--logfile", log, "--key-prefix", "t")
            (below / "log").rename(below / "log.1")
            write(below / "log", line.strip())
            counted = []
            for _ in range(2):
                late.write(line * 3)
                late.flush()
                done = run(PROG, "--logfile", log, "--key-prefix", "t", "--verbose")
                counted.append(done.stderr.decode().splitlines()[-1])
    finally:
        subprocess.run(["umount", "-l", log.parent], check=True)
    assert [text.split(": ")[2].split(", ")[1] for text in counted] == ["4 lines", "3 lines"]
