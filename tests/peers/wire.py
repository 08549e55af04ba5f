"""A link that answers pings as it is told: the far end of a TUN device in a network namespace.

It does what ``tc netem`` does (delay, jitter, loss, duplication, reordering), on kernels without
netem too, and what netem cannot: forged replies. It counts and times what it really did, so that
a test compares figures and not hopes. Run by `tests.peers.network`; speaks JSON on stdin and
stdout.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source: bytes, target: bytes, message: bytes) -> bytes:
    """An IPv4 or IPv6 packet around an ICMP message, checksums filled in."""
    message = message[:2] + b"\0\0" + message[4:]
    if len(source) == 16:
        pseudo = source + target + struct.pack("!II", len(message), 58)
        message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
        return struct.pack("!IHBB", 6 << 28, len(message), 58, 64) + source + target + message
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0) + source + target
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + message


def answers(packet: bytes, mode: str, rng: random.Random) -> list[bytes]:
    """The packets that come back for an echo request."""
    v6 = packet[0] >> 4 == 6
    source, target = (packet[8:24], packet[24:40]) if v6 else (packet[12:16], packet[16:20])
    message = packet[40:] if v6 else packet[(packet[0] & 15) * 4 :]
    kind = bytes([129 if v6 else 0])
    reply = kind + message[1:]

    def back(body: bytes, sender: bytes = target) -> bytes:
        return ip_packet(sender, source, body)

    if mode == "plain":
        return [back(reply)]
    if mode == "payload":
        # One bit of the pattern, and one of the random token: no other value, which may be its own.
        return [back(reply[:-1] + bytes([reply[-1] ^ 1])),
                back(reply[:12] + bytes([reply[12] ^ 1]) + reply[13:])]  # fmt: skip
    if mode == "sequence":
        seq = struct.unpack("!H", reply[6:8])[0]
        return [back(reply[:6] + struct.pack("!H", seq + step & 0xFFFF) + reply[8:])
                for step in (1, -1)]  # fmt: skip
    if mode == "identifier":
        return [back(reply[:4] + bytes([reply[4] ^ 0x55]) + reply[5:])]
    if mode == "stranger":
        return [back(reply, target[:-1] + bytes([target[-1] ^ 1]))]
    if mode == "truncated":
        return [back(reply[:20]), back(reply[:8])]
    if mode == "garbage":
        return [back(kind + b"\0" + rng.randbytes(rng.randrange(6, 80))) for _ in range(5)]
    if mode == "unreachable":
        head = bytes([1, 3]) if v6 else bytes([3, 1])
        return [back(head + bytes(6) + packet[:56])]
    # What a router on the way says of a packet that it has passed on all the same.
    advice = {
        "redirect": bytes([5, 1, 0, 0]) + target[:3] + b"\xfe",
        "quench": bytes([4, 0]) + bytes(6),
        "too-big": bytes([2, 0, 0, 0]) + struct.pack("!I", 1400)
        if v6
        else bytes([3, 4]) + bytes(4) + struct.pack("!H", 1400),
        "contested": (bytes([1, 3]) if v6 else bytes([3, 1])) + bytes(6),
    }
    if mode in advice:
        return [back(advice[mode] + packet[:56]), back(reply)]
    raise ValueError(mode)


def head_of(packet: bytes) -> tuple[str, int, bool, int]:
    """Source, type of service, don't-fragment, length: as they came."""
    if packet[0] >> 4 == 6:
        tos = (packet[0] & 15) << 4 | packet[1] >> 4
        return socket.inet_ntop(socket.AF_INET6, packet[8:24]), tos, True, len(packet)
    return socket.inet_ntoa(packet[12:16]), packet[1], bool(packet[6] & 0x40), len(packet)


class Host:
    """One address and how it behaves."""

    def __init__(self, profile: dict[str, float | str], seed: int) -> None:
        self.delay_s = float(profile.get("delay", 0)) / 1e3
        self.jitter_s = float(profile.get("jitter", 0)) / 1e3
        self.loss = float(profile.get("loss", 0)) / 100
        self.duplicate = float(profile.get("duplicate", 0)) / 100
        self.reorder = float(profile.get("reorder", 0)) / 100
        self.mode = str(profile.get("mode", "plain"))
        self.rng = random.Random(seed)
        self.seen = self.lost = self.doubled = self.jumped = 0
        self.arrivals: list[float] = []
        self.delays_ms: list[float] = []
        self.fates: list[str] = []
        self.heads: list[tuple[str, int, bool, int]] = []

    def plan(self, packet: bytes, now: float) -> list[tuple[float, bytes]]:
        self.seen += 1
        self.arrivals.append(now)
        self.heads.append(head_of(packet))
        if self.rng.random() < self.loss:
            self.lost += 1
            self.fates.append("lost")
            return []
        delay = self.delay_s + self.rng.uniform(-self.jitter_s, self.jitter_s)
        fate = "plain"
        if self.rng.random() < self.reorder:  # goes at once, past those that are held
            self.jumped += 1
            delay, fate = 0.0, "jumped"
        self.fates.append(fate)
        out = [(now + max(delay, 0), answer) for answer in answers(packet, self.mode, self.rng)]
        if self.rng.random() < self.duplicate:
            self.doubled += 1
            out += out
        return out


def main() -> None:
    # A link does not wait for its turn on a busy machine, so this almost idle process does not.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    setup = json.loads(sys.stdin.readline())
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"wire0", IFF_TUN_NO_PI))
    for command in (
        "addr add 192.0.2.1/24 dev wire0",
        "addr add 2001:db8::1/64 dev wire0 nodad",
        "link set wire0 up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    hosts = {
        bytes.fromhex(address): Host(profile, number)
        for number, (address, profile) in enumerate(setup.items(), start=1)
    }
    print("ready", flush=True)
    queue: list[tuple[float, int, bytes, float, Host]] = []
    number = 0
    while True:
        wait = max(queue[0][0] - time.monotonic(), 0) if queue else None
        readable, _, _ = select.select([tun, sys.stdin], [], [], wait)
        if sys.stdin in readable:
            break
        if tun in readable:
            packet = os.read(tun, 65536)
            now = time.monotonic()
            v6 = packet[0] >> 4 == 6
            kind = packet[40:41] if v6 else packet[20:21]
            host = hosts.get(packet[24:40] if v6 else packet[16:20])
            if host is not None and kind == (b"\x80" if v6 else b"\x08"):
                for at, answer in host.plan(packet, now):
                    number += 1
                    heapq.heappush(queue, (at, number, answer, now, host))
        while queue and queue[0][0] <= time.monotonic():
            _, _, answer, came, host = heapq.heappop(queue)
            host.delays_ms.append((time.monotonic() - came) * 1e3)
            os.write(tun, answer)
    figures = {
        address.hex(): {
            key: getattr(host, key)
            for key in (
                "seen",
                "lost",
                "doubled",
                "jumped",
                "arrivals",
                "delays_ms",
                "fates",
                "heads",
            )
        }
        for address, host in hosts.items()
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
