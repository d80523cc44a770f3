"""Keys: one for each subscription or orphan payment, under which what is personal is sealed."""

import os
from base64 import b64decode, b64encode
from hashlib import blake2b
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.kernel import PSEUDONYM

KEY_OF_ROW = "(SELECT key FROM seatline.keys WHERE owner = seatline.owner(originator_id, subject))"
"""The key of an event's row, to be selected with it: so nobody reads with one that has been destroyed."""
KEY_IF_SEALED = f"CASE WHEN substr(state, length(state) - 1, 1) = '\"' THEN {KEY_OF_ROW} END"
"""The same, unless all of the event is in plain: then its data comes last and ends in two braces."""

ID, NONCE = 4, 12
"""Bytes in front of what is sealed: which key it is, and what makes no two alike."""


class Tampered(Exception):
    """What was sealed under this key, for this place, has been changed since or moved."""


def owner_of(stream: str, subject: str) -> str:
    """Whose key seals what is personal in an event; as `seatline.owner` says it."""
    kind, _, name = stream.partition("/")
    return stream if name == subject and kind in ("payment", "calendar") else f"subscription/{subject}"


class Cipher:
    """Seals and opens under one key."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._aes = AESGCM(key)
        self._id = blake2b(key, digest_size=ID, person=b"key id").digest()

    @classmethod
    def new(cls) -> Self:
        return cls(os.urandom(32))

    def seal(self, plain: bytes, place: str) -> str:
        """For this place alone: elsewhere it can't be opened."""
        nonce = os.urandom(NONCE)
        return b64encode(self._id + nonce + self._aes.encrypt(nonce, plain, place.encode())).decode()

    def open(self, sealed: str, place: str) -> bytes | None:
        """None if it was sealed under another key, one that is gone; raises Tampered."""
        try:
            raw = b64decode(sealed, validate=True)
            if raw[:ID] != self._id:
                return None
            return self._aes.decrypt(raw[ID : ID + NONCE], raw[ID + NONCE :], place.encode())
        except (InvalidTag, ValueError) as error:
            raise Tampered from error

    def pseudonym(self, text: str) -> str:
        """What stands in the text's place: the same for the same text, and nothing to whoever lacks the key."""
        return PSEUDONYM + blake2b(text.encode(), key=self.key, digest_size=8, person=b"pseudonym").hexdigest()
