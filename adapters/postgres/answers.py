"""Answers that say who somebody is: kept sealed, and answered again without that once the key is gone."""

import msgspec
from pydantic_core import to_json

from adapters.postgres.keys import Cipher, Tampered
from adapters.postgres.mapper import UnreadableEvent

BEGIN = ',"sealed":'
"""How what is kept of such an answer begins, and of no other."""
ERASED = {
    "it": "Questa risposta conteneva dati personali, che sono stati cancellati.",
    "en": "This answer held personal data, which was erased.",
}


class Sealed(msgspec.Struct):
    """All that is kept of the answer."""

    code: str
    owner: str
    body: str


_decode = msgspec.json.Decoder(Sealed).decode


def sealed_answer(command_id: str, code: str, body: str, owner: str, cipher: Cipher) -> str:
    kept = Sealed(code, owner, cipher.seal(body.encode(), _place(command_id)))
    return BEGIN + msgspec.json.encode(kept).decode()


def owner_of_answer(body: str) -> str | None:
    """Whose key opens what is kept; None if it is in plain."""
    return _decode(body.removeprefix(BEGIN)).owner if body.startswith(BEGIN) else None


def opened_answer(command_id: str, body: str, cipher: Cipher | None) -> str:
    """The answer as it was given, or what can still be said of it; raises UnreadableEvent."""
    kept = _decode(body.removeprefix(BEGIN))
    try:
        plain = cipher.open(kept.body, _place(command_id)) if cipher else None
    except Tampered as error:
        raise UnreadableEvent(f"the answer that was kept to command {command_id} was changed") from error
    if plain is None:
        return f',"code":"{kept.code}","message":{to_json(ERASED).decode()},"events":[]'
    return plain.decode()


def _place(command_id: str) -> str:
    return f"answer to {command_id}"
