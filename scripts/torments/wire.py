"""A line between a program and a server that can be cut, put on hold, and made to lose one question or answer."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urlsplit

from psycopg.conninfo import conninfo_to_dict

HOST = "127.0.0.1"
NOTICE = b"A"
"""What a packet begins with in which PostgreSQL sends a notification and nothing before it."""
REFUSAL = b"\0VERROR\0"
"""What a packet holds in which PostgreSQL says no."""


@dataclass(eq=False)
class _Call:
    """One connection through the line."""

    client: socket.socket
    server: socket.socket
    deaf: bool = False
    """The next answer isn't passed on; the connection ends instead."""

    def end(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Line:
    def __init__(self, reach: Callable[[], socket.socket]) -> None:
        """`reach` connects to the server; who connects to `self.address` is passed on to it."""
        self._reach = reach
        self._listener = socket.create_server((HOST, 0))
        self._calls: set[_Call] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._lost_question: bytes | None = None
        self._lost_answer: bytes | None = None
        self.lost = 0
        """How many questions and answers have been lost as asked; an answer that says no is lost and doesn't count."""
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        self._refusing = True
        for call in list(self._calls):
            call.end()

    def mend(self) -> None:
        self._refusing = False
        self._flowing.set()

    def hold(self) -> None:
        """Pass nothing on and say nothing: a black hole."""
        self._flowing.clear()

    def lose_question(self, with_: bytes) -> None:
        """The next packet to the server that contains this never arrives, and its connection ends."""
        self._lost_question = with_

    def lose_answer(self, to: bytes) -> None:
        """The next packet to the server that contains this arrives, but its connection ends in place of the answer."""
        self._lost_answer = to

    def close(self) -> None:
        self._flowing.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who is accepting
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._refusing:
                    client.close()
                    continue
                try:
                    call = _Call(client, self._reach())
                except OSError:
                    client.close()  # nobody is there
                    continue
                self._calls.add(call)
                for pump in (self._ask, self._answer):
                    threading.Thread(target=self._pumping, args=(pump, call), daemon=True).start()

    def _pumping(self, pump: Callable[[_Call], None], call: _Call) -> None:
        with suppress(OSError):
            pump(call)
        call.end()
        self._calls.discard(call)

    def _ask(self, call: _Call) -> None:
        while packet := call.client.recv(1 << 20):
            self._flowing.wait()
            if self._lost_question is not None and self._lost_question in packet:
                self._lost_question, self.lost = None, self.lost + 1
                return
            if self._lost_answer and self._lost_answer in packet:
                self._lost_answer, call.deaf = None, True
            call.server.sendall(packet)

    def _answer(self, call: _Call) -> None:
        while packet := call.server.recv(1 << 20):
            self._flowing.wait()
            if call.deaf:
                self.lost += REFUSAL not in packet
                return
            if not self._is_lost(packet):
                call.client.sendall(packet)

    def _is_lost(self, answer: bytes) -> bool:
        return False


class Wire(Line):
    """A line to a database."""

    def __init__(self, url: str) -> None:
        """`url` leads to the server; `self.url` leads to the same database over this line."""
        there = conninfo_to_dict(url)
        super().__init__(partial(_reach, str(there.get("host") or "localhost"), int(there.get("port") or 5432)))
        account = quote(str(there["user"]), safe="")
        if password := there.get("password"):
            account += f":{quote(str(password), safe='')}"
        path = urlsplit(url).path
        self.url = f"postgresql://{account}@{self.address}{path}?sslmode=disable&gssencmode=disable"
        self.losing_notices = False
        """What `NOTIFY` tells those who do nothing but wait for it never arrives."""

    def _is_lost(self, answer: bytes) -> bool:
        return self.losing_notices and answer.startswith(NOTICE)


def _reach(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"{host}/.s.PGSQL.{port}")
    return server


@contextmanager
def a_wire(url: str) -> Iterator[Wire]:
    wire = Wire(url)
    try:
        yield wire
    finally:
        wire.close()
