"""A real browser, for pages that people look at."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def chromium() -> str:
    """The browser's program; the test is skipped on a laptop without one, and fails in CI."""
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if not found and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine: install it to see the page in a browser")
    assert found
    return found


def browse(url: str, folder: Path, *, width: int, height: int, picture: Path | None = None) -> str:
    """Open `url` and return its document as it stands then; `folder` keeps the browser's profile.

    No window is narrower than 500 pixels: put a narrower page into a frame.
    """
    done = subprocess.run(
        [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}",
         *([f"--screenshot={picture}"] if picture else []), "--dump-dom", url],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


@contextmanager
def served(pages: Mapping[str, str]) -> Iterator[str]:
    """Serve `pages` by their names on a free port of loopback, and yield the address of their folder."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = pages.get(self.path.removeprefix("/"))
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
