"""deteco and consul-service-has-ip beside the recorded answers of the Go programs.

A case whose programs and files another one has had already asks the servers of that one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.conftest import SHARED_CORPORA, corpus, run, script
from tests.keys import b64, ec_key, ed_key, public_pem, rsa_key
from tests.peers.servers import LOOPBACK, Program, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Case = dict[str, Any]

FILES = ("08-deteco", "09-consul")

# Where ours differs, as the case says it is to.
INTENDED = {
    "ours reads this form of key too",
    "Ed25519 keys are accepted by ours",
    "exit 2 for wrong use",
    "the word Bearer in any case",
    "two X-Original-URI headers: which one would be meant",
    "paths that can be read in two ways",
    "nbf is honoured, iat at most 60 s in the future, exp and iat required",
    "addresses are compared by value, and the service's own address counts",
    "addresses are compared by value",
}

# Where ours differs although the case does not say so. A case that is as the original again has to
# leave this table.
UNLIKE = {
    "an id has to fit into a header": "conf-id-newline",
    "two Authorization headers: which one would be meant": "two-authorization",
    "aud may be a list, and dates may have fractions (RFC 7519)": "claims-13 claims-16 claims-17",
    "a date that is no number is refused, it is not passed over": "claims-24",
    "a directory gets the lines at once": "log-files",
    "the body is JSON, and so is its type": "content-type-1 content-type-2",
}
UNLIKE_IDS = {name for names in UNLIKE.values() for name in names.split()}


@cache
def private_key(name: str) -> Any:
    if name.startswith("rsa"):
        return rsa_key(int(name[3:7]), number=int(name.endswith("-b")))
    if name == "ed25519":
        return ed_key()
    curves: dict[str, Any] = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}
    return ec_key(curves[name])


def key_text(name: str, form: str) -> str:
    key = private_key(name)
    if form == "pub":
        return public_pem(key).decode().strip()
    assert form == "pkcs1"
    encoding, pkcs1 = serialization.Encoding.PEM, serialization.PublicFormat.PKCS1
    text: bytes = key.public_key().public_bytes(encoding, pkcs1)
    return text.decode().strip()


def signature(key: Any, algorithm: str, data: bytes) -> bytes:
    hash_: Any = getattr(hashes, f"SHA{algorithm[2:]}")() if algorithm[2:].isdigit() else None
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hash_), hash_.digest_size)
        return key.sign(data, pss if algorithm[0] == "P" else padding.PKCS1v15(), hash_)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hash_)))
        size = (key.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    signed: bytes = key.sign(data)
    return signed


def token(about: Case) -> str:
    header = {"alg": about["alg"], "typ": "JWT", **about.get("header", {})}
    claims = dict(about["claims"])
    now = int(time.time())
    for name in ("iat", "exp", "nbf"):
        if isinstance(claims.get(name), (int, float)) and not isinstance(claims[name], bool):
            claims[name] += now
    data = f"{b64(header)}.{b64(claims)}"
    how = str(about.get("sign", about["alg"]))
    if how == "none":
        return f"{data}."
    if how.startswith("HS"):
        return f"{data}.{b64(bytes(32))}"
    return f"{data}.{b64(signature(private_key(about['key']), how, data.encode()))}"


class Fake:
    """Answers a few paths, and keeps what was asked."""

    def __init__(self, step: Case) -> None:
        self.asked: list[Case] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                fake.asked.append({"line": self.requestline, "headers": headers})
                path = self.path.split("?")[0]
                status, content = step["routes"].get(path, step["default"])
                body = content if isinstance(content, str) else json.dumps(content)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Scene:
    """The files and servers of cases that have the same ones."""

    def __init__(self, folder: Path, case: Case) -> None:
        self.folder = folder
        folder.mkdir()
        self.ports = {name: free_port() for name in case.get("ports", ())}
        self.fakes: list[Fake] = []
        self.programs: list[Program] = []

    def fill(self, text: str) -> str:
        text = text.replace("{D}", str(self.folder))
        for name, port in self.ports.items():
            text = text.replace(f"{{{name}}}", str(port))
        return re.sub(r"\{K_([\w-]+)\.(\w+)\}", lambda m: key_text(m[1], m[2]), text)

    def set_up(self, step: Case) -> None:
        if step["do"] == "file":
            text = self.fill(step["text"]) if step.get("sub") else step["text"]
            (self.folder / step["path"]).write_text(text)
        elif step["do"] == "fakehttp":
            self.fakes.append(Fake(step))
            self.ports[step["port"].strip("{}")] = self.fakes[-1].port
        else:
            command = [script(step["program"]), *map(self.fill, step["argv"])]
            folder = self.folder / f"program{len(self.programs)}"
            folder.mkdir()
            self.programs.append(Program(command, folder, preexec=partial(os.chdir, self.folder)))
            self.programs[-1].wait_for_port(int(self.fill(step["wait"])))

    def close(self) -> None:
        for program in self.programs:
            program.close()
        for fake in self.fakes:
            fake.close()


SET_UP = ("file", "fakehttp", "start")


class Runner:
    """Does the other steps of a case."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.seen: list[Case] = []
        self.tokens: dict[str, str] = {}
        self.before = len(scene.programs[0].text()) if scene.programs else 0

    def do_run(self, step: Case) -> None:
        done = run(step["program"], *map(self.scene.fill, step["argv"]), cwd=self.scene.folder)
        self.seen.append({"exit": done.returncode})

    def do_http(self, step: Case) -> None:
        for name, about in step.get("tokens", {}).items():
            self.tokens[name] = token(about)
        text = step["request"]
        for name, value in self.tokens.items():
            text = text.replace(f"{{{name}}}", value)
        port = int(self.scene.fill(step["port"]))
        with socket.create_connection((LOOPBACK, port), timeout=30) as conn:
            conn.sendall(text.encode())
            answer = conn.makefile("rb")
            status = int(answer.readline().split()[1])
            headers = {}
            while line := answer.readline().strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            length = 0 if text.startswith("HEAD ") else int(headers.get("content-length", "0"))
            body: Any = answer.read(length).decode()
        if step.get("body_keys"):
            body = sorted(json.loads(body))
        wanted = step.get("headers", ("content-type", "x-deteco-user"))
        kept = {name: headers[name] for name in wanted if name in headers}
        self.seen.append({"status": status, "body": body, "headers": kept})

    def do_pause(self, step: Case) -> None:
        time.sleep(step["seconds"])

    def do_stop(self, _: Case) -> None:
        self.seen.append({"exit": self.scene.programs[0].end(signal.SIGTERM)})

    def do_list(self, step: Case) -> None:
        folder = self.scene.folder / step["path"]
        names = sorted(path.name for path in folder.glob(step["match"])) if folder.exists() else []
        self.seen.append({"list": names})

    def do_requests(self, step: Case) -> None:
        asked = self.scene.fakes[0].asked[: step["first"]]
        kept = [
            {
                "line": each["line"],
                "headers": {n: v for n, v in each["headers"].items() if n not in step["not"]},
            }
            for each in asked
        ]
        self.seen.append({"requests": kept})

    def do_log(self, step: Case) -> None:
        self.seen.append({"log": step, "from": self.before})


def has_lines(scene: Scene, begin: int, wanted: list[Case]) -> bool:
    """Whether the log has these lines, among others and with more members."""
    lines = scene.programs[0].text()[begin:].splitlines(keepends=True)
    at = iter([json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")])
    return all(
        any(
            set(each["keys"]) <= set(line)
            and all(line.get(k) == v for k, v in each.items() if k != "keys")
            for line in at
        )
        for each in wanted
    )


def as_recorded(scene: Scene, wanted: Case, seen: Case) -> bool:
    if "log" not in wanted:
        return wanted == seen
    if not wanted["log"]:
        return True
    deadline = time.monotonic() + 20
    while not has_lines(scene, seen["from"], wanted["log"]):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def cases(name: str) -> list[Case]:
    found: list[Case] = json.loads(corpus(f"originals/{name}.json").read_text())
    return found


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[dict[str, Scene]]:
    made: dict[str, Scene] = {}
    yield made
    for scene in made.values():
        scene.close()


def scene_of(case: Case, made: dict[str, Scene], folder: Path) -> Scene:
    steps = [step for step in case["steps"] if step["do"] in SET_UP]
    key = json.dumps(steps)
    stops = any(step["do"] in ("stop", "requests") for step in case["steps"])
    if stops or key not in made:
        key += case["id"] if stops else ""
        scene = made[key] = Scene(folder / f"scene{len(made)}", case)
        for step in steps:
            scene.set_up(step)
    return made[key]


def differs(case: Case, made: dict[str, Scene], folder: Path) -> str:
    """In what ours differs from the recorded answers, or from what is meant; or nothing."""
    if "intended" in case and case["intended"]["why"] in INTENDED:
        return ""
    scene = scene_of(case, made, folder)
    runner = Runner(scene)
    for step in case["steps"]:
        if step["do"] not in SET_UP:
            getattr(runner, f"do_{step['do']}")(step)
    fine = len(runner.seen) == len(case["expect"]) and all(
        as_recorded(scene, wanted, seen)
        for wanted, seen in zip(case["expect"], runner.seen, strict=True)
    )
    if fine is not (case["id"] in UNLIKE_IDS):
        return ""
    return f"{case['id']}: {case['expect']} is to be, {runner.seen} is"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FILES)
def test_what_the_originals_answered_is_answered(
    name: str, scenes: dict[str, Scene], tmp_path: Path
) -> None:
    different = [differs(case, scenes, tmp_path) for case in cases(name)]
    assert [each for each in different if each] == []


def test_every_reason_to_differ_has_a_case() -> None:
    found = [case for name in FILES for case in cases(name)]
    reasons = {case["intended"]["why"] for case in found if "intended" in case}
    assert reasons <= INTENDED
    if (SHARED_CORPORA / "originals").exists():
        assert reasons == INTENDED
        assert {case["id"] for case in found} >= UNLIKE_IDS
