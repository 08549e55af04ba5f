"""A headless Chromium that a test steers: the DevTools protocol over two pipes.

It is the shell without windows, which has no services of its own that would ask the network.

    browser = Browser(folder)
    page = browser.open(file, width=375, dark=True)
    page.press("Enter")
    assert page.value("document.title") == "a title"

https://chromedevtools.github.io/devtools-protocol/ has the methods and their arguments.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any

from tests.conftest import need_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ANSWER_WITHIN_S = 60
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio",
    "--no-first-run", "--no-pings", "--disable-background-networking", "--disable-sync",
    "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
"""Root has no sandbox; and a browser of a test has nothing to say to anybody."""
KEYS = {
    "Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), "ArrowDown": (40, ""),
    "ArrowUp": (38, ""), "ArrowLeft": (37, ""), "ArrowRight": (39, ""), " ": (32, " "),
}  # fmt: skip


def _pipe() -> list[int]:
    """Both ends of a pipe, their numbers above those that the shell is to give the browser."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved


class Browser:
    """The process, and the pipes to and from it.

    Args:
        folder: for its profile, and what it says.
        options: more of its command line.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        commands, self._to = _pipe()
        answers, self._from = reversed(_pipe())
        self._buffer = b""
        self._last = 0
        self._events: list[dict[str, Any]] = []
        program = need_program("chromium-headless-shell")
        # It reads commands from descriptor 3 and answers on 4.
        move = f'exec "$0" "$@" 3<&{commands} 4>&{answers} {commands}<&- {answers}>&-'
        folder.mkdir(parents=True, exist_ok=True)
        command = [program, *QUIET, f"--user-data-dir={folder}/profile", *options]
        with open(folder / "stderr", "wb") as said:
            self.process = subprocess.Popen(
                ["bash", "-c", move, *command],
                pass_fds=(commands, answers),
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
                env={**os.environ, "HOME": str(folder), "TZ": "America/New_York"},
            )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self.ask("Browser.getVersion")

    def ask(self, method: str, session: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Call a method of the protocol and give its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": arguments}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result = answer["result"]
                assert isinstance(result, dict)
                return result
            self._events.append(answer)

    def _next(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            assert left > 0, f"chromium does not answer {what}"
            if select.select([self._from], [], [], left)[0]:
                piece = os.read(self._from, 1 << 20)
                assert piece, f"chromium ended before it answered {what}"
                self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        assert isinstance(message, dict)
        return message

    def events(self, session: str, *methods: str) -> list[dict[str, Any]]:
        """What was told of a page so far."""
        return [
            event["params"]
            for event in self._events
            if event.get("sessionId") == session and event["method"] in methods
        ]

    def open(
        self, path: Path | str, *, width: int = 1024, height: int = 900, dark: bool = False
    ) -> Page:
        """A file, or an address, in a tab of its own, once it is loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        for domain in ("Page", "Runtime", "Log"):
            page.ask(f"{domain}.enable")
        page.resize(width, height)
        page.emulate(dark=dark)
        page.ask("Page.navigate", url=path if isinstance(path, str) else path.as_uri())
        page.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")
        return page

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)
        os.close(self._to)
        os.close(self._from)


class Page:
    """A tab."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.browser = browser
        self.target = target
        self.session = session

    def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self.browser.ask(method, self.session, **arguments)

    def value(self, expression: str, **options: Any) -> Any:
        """What an expression of JavaScript is; a promise is waited for."""
        how = {"returnByValue": True, "awaitPromise": True, **options}
        answer = self.ask("Runtime.evaluate", expression=expression, **how)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, within_s: float = 30) -> None:
        deadline = time.monotonic() + within_s
        while not self.value(expression):
            assert time.monotonic() < deadline, f"not within {within_s} s: {expression}"
            time.sleep(0.01)

    def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=width < 600,
        )  # fmt: skip

    def emulate(self, *, dark: bool = False, media: str = "") -> None:
        """The theme of the system, and ``print``."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def press(self, *keys: str) -> None:
        """Keys, one after the other: the names of `KEYS`, or characters."""
        for key in keys:
            code, text = KEYS.get(key, (0, key))
            event = {"key": key, "windowsVirtualKeyCode": code}
            down = {**event, "text": text} if text else event
            self.ask("Input.dispatchKeyEvent", type="keyDown", **down)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **event)

    def click(self, selector: str) -> None:
        """The middle of an element, as a mouse does."""
        place = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({ block: 'center' }); const b = e.getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask(
                "Input.dispatchMouseEvent",
                type=kind, x=place[0], y=place[1], button="left", clickCount=1,
            )  # fmt: skip

    def complaints(self) -> list[str]:
        """What went wrong in the page: exceptions, and what its policy refused."""
        events = self.browser.events(self.session, "Runtime.exceptionThrown", "Log.entryAdded")
        return [
            json.dumps(event)
            for event in events
            if "entry" not in event or event["entry"]["level"] == "error"
        ]

    def picture(self, *, whole: bool = False) -> bytes:
        """A PNG of what is shown, or of all of it."""
        answer = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def pdf(self, **options: Any) -> bytes:
        answer = self.ask(
            "Page.printToPDF", preferCSSPageSize=True, printBackground=True, **options
        )
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        self.browser.ask("Target.closeTarget", targetId=self.target)


def texts(page: Page, selector: str) -> Sequence[str]:
    """What the elements say, in their order."""
    found = page.value(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)"
    )
    assert isinstance(found, list)
    return found
