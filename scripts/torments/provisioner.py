"""A provisioning system over a real socket that keeps what it is asked for and answers as the test says."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

HANG_UP, KEEP_WAITING = "hang up", "keep waiting"
TAKEN = 204

Answer = int | str | tuple[int, dict[str, str]]


class Call(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def key(self) -> str:
        return self.headers["Idempotency-Key"]


class Provisioning:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        """Every call that came in whole, whatever the answer was."""
        self.answers: list[Answer] = []
        """What the next calls are answered with, in turn: a status, one with headers, or none; then 204."""
        self.patience = threading.Event()
        """Set, it ends `KEEP_WAITING`."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/activations"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def keys(self) -> list[str]:
        return [call.key for call in self.calls]

    def answer(self, call: Call) -> Answer:
        self.calls.append(call)
        return self.answers.pop(0) if self.answers else TAKEN

    def close(self) -> None:
        self.patience.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provisioning = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = provisioning.answer(Call(self.command, self.path, dict(self.headers), body))
                if answer == KEEP_WAITING:
                    provisioning.patience.wait()
                if isinstance(answer, str):
                    self.close_connection = True
                    return
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def do_GET(self) -> None:
                provisioning.calls.append(Call(self.command, self.path, dict(self.headers), None))
                self.send_response(TAKEN)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing; the tests look at `calls`."""

        return Handler


@contextmanager
def a_provisioning_system() -> Iterator[Provisioning]:
    provisioning = Provisioning()
    try:
        yield provisioning
    finally:
        provisioning.close()
