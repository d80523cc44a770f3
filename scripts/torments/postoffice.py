"""A mail server over a real socket that keeps what it is handed and answers as the test says."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

HANG_UP, KEEP_WAITING, SILENCE = "hang up", "keep waiting", "silence"
TAKEN = "250 taken"


class PostOffice:
    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        """Every message that was handed over whole, whatever the answer was."""
        self.answers: list[str] = []
        """What the next messages are answered with, in turn; then `250 taken`."""
        self.patience = threading.Event()
        """Set, it ends `KEEP_WAITING`."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def message_ids(self) -> list[str]:
        return [str(message["Message-ID"]) for message in self.taken]

    @property
    def subjects(self) -> list[str]:
        return [str(message["Subject"]) for message in self.taken]

    def close(self) -> None:
        self.patience.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who is accepting
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, client.makefile("rwb") as talk:

            def say(answer: str) -> bool:
                if answer not in (HANG_UP, SILENCE):
                    talk.write(answer.encode() + b"\r\n")
                    talk.flush()
                return answer != HANG_UP

            going_on = say(self.answer("greeting", "220 ready"))
            while going_on and (line := talk.readline()):
                match verb := line[:4].strip().upper().decode():
                    case "DATA":
                        going_on = say(answer := self.answer(verb, "354 go on"))
                        if answer.startswith("354"):
                            going_on = say(self._take(talk.readline))
                    case "QUIT":
                        say("221 bye")
                        return
                    case _:
                        going_on = say(self.answer(verb, "250 fine"))

    def answer(self, verb: str, usual: str) -> str:
        """What is said to anything but a message."""
        return usual

    def answer_message(self, message: EmailMessage) -> str:
        self.taken.append(message)
        answer = self.answers.pop(0) if self.answers else TAKEN
        if answer == KEEP_WAITING:
            self.patience.wait()
            return TAKEN
        return answer

    def _take(self, readline: Callable[[], bytes]) -> str:
        lines: list[bytes] = []
        while (line := readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        if not line:
            return HANG_UP
        message = message_from_bytes(b"".join(lines), policy=default)
        assert isinstance(message, EmailMessage)
        return self.answer_message(message)


@contextmanager
def a_post_office() -> Iterator[PostOffice]:
    office = PostOffice()
    try:
        yield office
    finally:
        office.close()
