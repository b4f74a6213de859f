"""A headless Chromium for tests of what somebody sees, driven over its DevTools protocol.

Belongs here: starting and ending the browser, looking at a page, and clicking as a person does, each click counted.
Does not belong here: what a page is to show. Nothing beyond the machine is asked for: the browser's own services are
turned off, and its profile is a folder of its own.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 1600, 1000
SECONDS_TO_START, SECONDS_TO_SHOW, SECONDS_TO_END = 120, 120, 10
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
    "--remote-debugging-port=0", f"--window-size={WIDTH},{HEIGHT}",
)  # fmt: skip
# The innermost element that is seen and has exactly this text or this accessible name.
_FIND = """
(() => {
  const wanted = %s;
  const seen = (one) => { const box = one.getBoundingClientRect(); return box.width > 0 && box.height > 0; };
  const named = (one) => one.getAttribute('aria-label') === wanted || one.getAttribute('title') === wanted
    || (one.innerText || '').trim() === wanted;
  const found = [...document.querySelectorAll('body *')].filter((one) => named(one) && seen(one));
  const element = found.find((one) => !found.some((other) => other !== one && one.contains(other)));
  if (!element) return null;
  element.scrollIntoView({block: 'center'});
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()
"""


def executable() -> str | None:
    """The Chromium of this machine, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab. `clicks`: how often somebody has clicked in it."""

    def __init__(self, connection: ClientConnection, session: str) -> None:
        self._connection = connection
        self._session = session
        self._number = 0
        self.clicks = 0

    def open(self, address: str) -> None:
        self._ask("Page.navigate", url=address)

    def text(self) -> str:
        """All text that is on the page now."""
        return str(self._value("document.body ? document.body.innerText : ''"))

    def wait_for(self, *texts: str) -> str:
        """The text of the page as soon as all of these are part of it. Raises AssertionError when they do not come."""
        deadline = time.monotonic() + SECONDS_TO_SHOW
        while time.monotonic() < deadline:
            shown = self.text()
            if all(text in shown for text in texts):
                return shown
            time.sleep(0.1)
        raise AssertionError(f"the page does not show {[text for text in texts if text not in self.text()]}")

    def click(self, name: str) -> None:
        """Click in the middle of what has this text or name, with the mouse. Raises AssertionError when nothing has."""
        deadline = time.monotonic() + SECONDS_TO_SHOW
        before = None
        while time.monotonic() < deadline:
            place = self._value(_FIND % json.dumps(name))
            # Where it was found twice it does not move any more.
            if place is not None and place == before:
                for kind in ("mousePressed", "mouseReleased"):
                    x, y = place
                    self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
                self.clicks += 1
                return
            before = place
            time.sleep(0.3)
        raise AssertionError(f"nothing on the page is called {name}")

    def type(self, text: str) -> None:
        """Type into the field that has the focus, or is getting it. Raises AssertionError when none does."""
        deadline = time.monotonic() + SECONDS_TO_SHOW
        while self._value("document.activeElement.tagName") != "INPUT":
            assert time.monotonic() < deadline, "nothing can be typed into"
            time.sleep(0.1)
        self._ask("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))

    def _value(self, expression: str) -> Any:
        return self._ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        return ask(self._connection, self._number, method, parameters, self._session)


def ask(
    connection: ClientConnection, number: int, method: str, parameters: dict[str, Any], session: str | None = None
) -> dict[str, Any]:
    """Give a command and wait for its answer; events between are of no interest. Raises AssertionError."""
    whose = {} if session is None else {"sessionId": session}
    connection.send(json.dumps({"id": number, "method": method, "params": parameters, **whose}))
    while True:
        said = json.loads(connection.recv(timeout=SECONDS_TO_SHOW))
        if said.get("id") == number and said.get("sessionId") == session:
            assert "error" not in said, f"{method}: {said['error']}"
            answer: dict[str, Any] = said["result"]
            return answer


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends with the block, and whatever it has started with it."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        # To the group: some of what it has started may outlive the program itself.
        for ending in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, ending)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=SECONDS_TO_END)


@contextmanager
def open_page(program: str, profile: Path) -> Iterator[Page]:
    """A tab of a browser that ends with the block. `profile`: an empty folder for it."""
    command = [program, *_OPTIONS, f"--user-data-dir={profile}"]
    with (
        running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        connect(_address(process, profile), max_size=None, proxy=None) as connection,
    ):
        target = ask(connection, 1, "Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = ask(connection, 2, "Target.attachToTarget", {"targetId": target, "flatten": True})
        yield Page(connection, attached["sessionId"])


def _address(process: subprocess.Popen[bytes], profile: Path) -> str:
    """Where the browser listens: it writes port and path down once it does."""
    written = profile / "DevToolsActivePort"
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        lines = written.read_text().splitlines() if written.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.1)
    raise AssertionError("the browser did not start")
