"""The capture files of ppdp: restarts, bounds, links, standard output."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

from tests.conftest import need_program, run, script
from tests.peers.servers import echo, free_port, read_all, read_exactly
from tests.tools.test_ppdp_dump import tshark

if TYPE_CHECKING:
    from tests.peers.servers import Stage


def test_a_restart_destroys_no_capture(stage: Stage) -> None:
    """Server::Starter runs two generations for a while."""
    upstream = stage.peer(echo)
    file = stage.folder / "all.pcap"
    file.write_text("an old one")
    file.chmod(0o644)
    port = free_port()
    starter = stage.program(
        [need_program("start_server"), "--port", f"127.0.0.1:{port}", "--", script("ppdp"),
         "--upstream", f"127.0.0.1:{upstream.port}", "--dump-pcap", str(file)]
    )  # fmt: skip
    starter.wait_for("Start listen")
    with socket.create_connection(("127.0.0.1", port), 10) as old:
        old.sendall(b"before")
        assert read_exactly(old, 6) == b"before"
        starter.kill(signal.SIGHUP)
        starter.wait_for_lines(1, msg="Go shutdown")
        starter.wait_for_lines(1, msg="Start capture", file=f"{file}.1")
        for _ in range(20):  # the first of them may still be the old one's
            with socket.create_connection(("127.0.0.1", port), 10) as new:
                new.sendall(b"after")
                assert read_exactly(new, 5) == b"after"
        old.sendall(b" and on")
        assert read_exactly(old, 7) == b" and on"
    starter.end()
    captured = []
    for name in (str(file), f"{file}.1"):
        found = tshark(
            name, "-Y", f"tcp.dstport == {upstream.port}", "-T", "fields", "-e", "tcp.payload"
        )
        captured.append(bytes.fromhex("".join(found).replace(":", "")))
        assert os.stat(name).st_mode & 0o777 == 0o600
    early = captured[0].removeprefix(b"before").removesuffix(b" and on")
    assert captured == [b"before" + early + b" and on", (20 - len(early) // 5) * b"after"]
    assert captured[1]


def test_captures_have_bounds(stage: Stage) -> None:
    file = str(stage.folder / "all.pcap")
    options = ["--dump-pcap-size", "64KiB", "--dump-pcap-files", "3", "--dump-snaplen", "1000"]
    ppdp = stage.ppdp(stage.peer(echo).port, "--dump-pcap", file, *options)
    for _ in range(150):
        with ppdp.connect() as conn:
            conn.sendall(bytes(20_000))
            conn.shutdown(socket.SHUT_WR)
            assert len(read_all(conn)) == 20_000
    assert ppdp.end() == 0
    names = sorted(stage.folder.glob("all.pcap*"), key=lambda path: path.stat().st_mtime_ns)
    assert len(names) == 3
    for path in names:
        assert path.stat().st_size <= 64 << 10
        lengths = tshark(str(path), "-T", "fields", "-e", "frame.cap_len", "-e", "frame.len")
        pairs = [tuple(map(int, line.split())) for line in lengths]
        assert all(kept == min(length, 1000) for kept, length in pairs)
    assert max(length for _, length in pairs) > 1000


def test_a_capture_goes_to_standard_output_and_through_no_link(stage: Stage) -> None:
    upstream = stage.peer(echo)
    link, target = stage.folder / "link", stage.folder / "precious"
    target.write_text("precious")
    link.symlink_to(target)
    done = run(
        "ppdp", "-l", "127.0.0.1:0", "--upstream", f"127.0.0.1:{upstream.port}", "--dump-pcap",
        str(link),
    )  # fmt: skip
    assert done.returncode == 1
    assert "a symbolic link" in done.stderr.decode()
    assert target.read_text() == "precious"
    port = free_port()
    capture = stage.folder / "stdout"
    command = [script("ppdp"), "-l", f"127.0.0.1:{port}", "--upstream"]
    program = stage.program(
        ["sh", "-c", 'exec "$@" > "$0"', capture, *command, f"127.0.0.1:{upstream.port}",
         "--dump-pcap", "-"]
    )  # fmt: skip
    program.wait_for("Start listen")
    with socket.create_connection(("127.0.0.1", port), 10) as conn:
        conn.sendall(b"hello")
        assert read_exactly(conn, 5) == b"hello"
    assert program.end() == 0
    found = tshark(str(capture), "-T", "fields", "-e", "tcp.payload")
    assert bytes.fromhex("".join(found)) == b"hellohello"
    assert not (stage.folder / "-").exists()


def test_a_capture_that_nobody_reads_does_not_keep_the_process(stage: Stage) -> None:
    fifo = stage.folder / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    stage.later(lambda: os.close(reader))
    ppdp = stage.ppdp(stage.peer(echo).port, "--dump-pcap", str(fifo))
    body = bytes(1_000_000)
    with ppdp.connect() as conn:
        conn.sendall(body)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == body
    assert ppdp.end(within_s=60) == 0
    assert ppdp.wait_for_line(msg="Complete shutdown")
