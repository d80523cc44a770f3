"""Seals in a folder outside the database: the hash of every event, and signed heads that stand for all of them."""

import fcntl
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import pack

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from adapters.merkle import CHUNK, CHUNK_HEIGHT, WIDTH, Tree, leaf, path_to, root_by, root_of, root_of_chunk

SCHEME = "seatline-seal-v1"
"""Signed with every head, so that a signature says nothing where something else is meant."""
PAGE = 128 * CHUNK

Progress = Callable[[int, int], None]
"""Told how many events are done, of how many."""


class SealBroken(Exception):
    """What lies in the folder can't be relied on; says why in one line."""


class KeyUnfit(Exception):
    """A file holds no key that can be used here; says in one line what it is to hold."""


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That the first `size` events of a log were just these; bytes are base64 in JSON."""

    origin: str
    """The database in which the log was sealed first."""
    size: int
    root: bytes
    sealed_at: str
    signature: bytes = b""

    def is_by(self, key: Ed25519PublicKey) -> bool:
        try:
            key.verify(self.signature, self._signed())
        except InvalidSignature:
            return False
        return True

    def signed_by(self, key: Ed25519PrivateKey) -> "Head":
        return msgspec.structs.replace(self, signature=key.sign(self._signed()))

    def _signed(self) -> bytes:
        return msgspec.json.encode([SCHEME, self.origin, self.size, self.root, self.sealed_at])


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sealed of an event; its position is its leaf's."""

    stream: str
    version: int
    topic: str
    subject: str
    state: str

    def leaf(self) -> bytes:
        """Over each value behind its length, as PostgreSQL's binary COPY writes them."""
        texts = [text.encode() for text in (self.stream, self.topic, self.subject, self.state)]
        values = [texts[0], pack(">q", self.version), *texts[1:]]
        return leaf(b"".join([pack(">i", len(value)) + value for value in values]))


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That one event stood at its position when the head was signed."""

    head: Head
    position: int
    event: Sealed
    path: list[bytes]

    def complaint(self, key: Ed25519PublicKey) -> str | None:
        """What is wrong with it, if anything is; the key is all that one needs to know."""
        if not self.head.is_by(key):
            return "its head was not signed with this key"
        if root_by(self.path, self.event.leaf(), self.position - 1, self.head.size) != self.head.root:
            return f"this is not the event that was sealed at position {self.position}"
        return None


class Seals:
    """One folder: `head-SIZE.json` for each seal, `leaves` with a hash an event, `chunks` with one for every 1,024."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._leaves = folder / "leaves"
        self._chunks = folder / "chunks"

    def heads(self, key: Ed25519PublicKey) -> list[Head]:
        """All that were signed, the shortest first; raises SealBroken if somebody else had a hand in one."""
        heads = [self._read(path, key) for path in sorted(self.folder.glob("head-*.json"))]
        for head in heads:
            if head.origin != heads[0].origin:
                raise SealBroken(f"{self.folder}: has heads of two logs, {heads[0].origin} and {head.origin}")
        return heads

    def last(self, key: Ed25519PublicKey) -> Head | None:
        paths = sorted(self.folder.glob("head-*.json"))
        return self._read(paths[-1], key) if paths else None

    def _read(self, path: Path, key: Ed25519PublicKey) -> Head:
        try:
            head = msgspec.json.decode(path.read_bytes(), type=Head)
        except msgspec.DecodeError as error:
            raise SealBroken(f"{path}: is no head ({error})") from None
        if not head.is_by(key):
            raise SealBroken(f"{path}: was not signed with this key")
        if path != self._path(head):
            raise SealBroken(f"{path}: holds the head of {head.size:,} events")
        return head

    def _path(self, head: Head) -> Path:
        return self.folder / f"head-{head.size:015}.json"

    # What was sealed

    def leaves(self, first: int, last: int) -> bytes:
        """The hashes of the events after position `first` up to position `last`, as far as they are there."""
        return _part(self._leaves, first, last)

    def position_of(self, leaf_: bytes, size: int) -> int | None:
        """Where an event with this hash was sealed among the first `size`."""
        with self._leaves.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as leaves:
            at = leaves.find(leaf_, 0, size * WIDTH)
            while at % WIDTH and at != -1:
                at = leaves.find(leaf_, at + 1, size * WIDTH)
        return None if at == -1 else at // WIDTH + 1

    def path_to(self, position: int, size: int) -> list[bytes]:
        """What proves the event at this position to be among the first `size`."""
        chunk = (position - 1) // CHUNK
        leaves = _apart(self.leaves(chunk * CHUNK, min((chunk + 1) * CHUNK, size)))
        return path_to((position - 1) % CHUNK, leaves) + path_to(chunk, self._roots(size))

    def root_over(self, first: int, last: int) -> bytes:
        """Of the subtree over the events after position `first` up to position `last`."""
        tree = Tree()
        if first % CHUNK == 0:
            for root in _apart(_part(self._chunks, first // CHUNK, last // CHUNK)):
                tree.add(root, CHUNK_HEIGHT)
        tree.extend(self.leaves(first + tree.size, last))
        return tree.root()

    def _roots(self, size: int) -> list[bytes]:
        whole = size // CHUNK
        roots = _apart(_part(self._chunks, 0, whole))
        rest = _apart(self.leaves(whole * CHUNK, size))
        return [*roots, root_of(rest)] if rest else roots

    # Sealing

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else seals into this folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def extend(self, last: Head | None, pages: Iterable[bytes], origin: str, at: str, key: Ed25519PrivateKey) -> Head:
        """Add the hashes of further events and sign what there is then; what a kill left behind the last head goes."""
        size = last.size if last else 0
        if last and root_of(self._roots(size)) != last.root:
            raise SealBroken(
                f"{self.folder}: its hashes are not those of its last head: keep it, and seal into another"
            )
        with _writing(self._leaves, size) as leaves:
            for page in pages:
                leaves(page)
        becomes = self._leaves.stat().st_size // WIDTH
        with _writing(self._chunks, size // CHUNK) as chunks:
            for chunk in range(size // CHUNK, becomes // CHUNK):
                chunks(root_of_chunk(self.leaves(chunk * CHUNK, (chunk + 1) * CHUNK)))
        head = Head(last.origin if last else origin, becomes, root_of(self._roots(becomes)), at).signed_by(key)
        if head.size > size:
            self._keep(head)
        return head

    def _keep(self, head: Head) -> None:
        path = self._path(head)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(msgspec.json.encode(head) + b"\n")
        _onto_disk(unfinished)
        unfinished.rename(path)
        _onto_disk(self.folder)


def first_misfit(heads: Sequence[Head], leaves: Callable[[int, int], bytes], progress: Progress) -> int | None:
    """The place of the first head that isn't the root of these hashes; None if all are."""
    tree = Tree()
    for place, head in enumerate(heads):
        while tree.size < head.size:
            until = min(head.size, tree.size + PAGE)
            some = leaves(tree.size, until)
            if len(some) != (until - tree.size) * WIDTH:
                return place
            tree.extend(some)
            progress(tree.size, heads[-1].size)
        if tree.root() != head.root:
            return place
    return None


def private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnfit(
            f"{path}: no Ed25519 private key in PEM without a password; docs/auditors.md says how to make one"
        )
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnfit(f"{path}: no Ed25519 public key in PEM; openssl pkey -pubout makes it from the private one")
    return key


def _part(path: Path, first: int, last: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(first * WIDTH)
            return file.read((last - first) * WIDTH)
    except FileNotFoundError:
        return b""


def _apart(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + WIDTH] for at in range(0, len(hashes), WIDTH)]


@contextmanager
def _writing(path: Path, size: int) -> Iterator[Callable[[bytes], object]]:
    """Appends behind the first `size` hashes, and has all of it on the disk in the end."""
    with path.open("ab") as file:
        file.truncate(size * WIDTH)
        yield file.write
        file.flush()
        os.fsync(file.fileno())


def _onto_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
