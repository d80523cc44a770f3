"""A Merkle tree as in RFC 9162: one hash stands for all events, and log2(n) hashes prove that one of them is in it."""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

WIDTH = 32
"""Bytes of a hash."""
CHUNK_HEIGHT = 10
CHUNK = 1 << CHUNK_HEIGHT
"""Leaves of a subtree whose root is kept, so that nobody has to hash them all again for a proof."""
EMPTY = sha256().digest()


def leaf(content: bytes) -> bytes:
    return sha256(b"\0" + content).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Begins with another byte than a leaf, so that neither can be passed off as the other."""
    return sha256(b"\1" + left + right).digest()


class Tree:
    """Leaves come one after the other, or whole subtrees at once; of them only log2(n) hashes are kept."""

    def __init__(self) -> None:
        self.size = 0
        self._complete: list[bytes] = []
        """The roots of the complete subtrees that it is made of, the largest first."""

    def add(self, root: bytes, height: int = 0) -> None:
        """Append a complete subtree of 2 ** height leaves, of which there must be a whole number already."""
        before = self.size >> height
        self.size += 1 << height
        while before & 1:
            root = node(self._complete.pop(), root)
            before >>= 1
        self._complete.append(root)

    def extend(self, leaves: bytes) -> None:
        """Append leaves that stand one after the other."""
        place = 0
        while place < len(leaves):
            if self.size % CHUNK == 0 and place + CHUNK * WIDTH <= len(leaves):
                self.add(root_of_chunk(leaves[place : place + CHUNK * WIDTH]), CHUNK_HEIGHT)
                place += CHUNK * WIDTH
            else:
                self.add(leaves[place : place + WIDTH])
                place += WIDTH

    def root(self) -> bytes:
        if not self._complete:
            return EMPTY
        *larger, root = self._complete
        for complete in reversed(larger):
            root = node(complete, root)
        return root


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaves, or over the roots of chunks of which only the last may be incomplete."""
    tree = Tree()
    for hash_ in hashes:
        tree.add(hash_)
    return tree.root()


def root_of_chunk(leaves: bytes) -> bytes:
    """The same for a complete chunk, its leaves one after the other; faster."""
    while len(leaves) > WIDTH:
        leaves = b"".join(
            [sha256(b"\1" + leaves[pair : pair + 2 * WIDTH]).digest() for pair in range(0, len(leaves), 2 * WIDTH)]
        )
    return leaves


def path_to(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """The hashes that lead from the one at this index to the root, the nearest first."""
    path, level = [], list(hashes)
    while len(level) > 1:
        if (sibling := index ^ 1) < len(level):
            path.append(level[sibling])
        paired = [node(level[left], level[left + 1]) for left in range(0, len(level) - 1, 2)]
        # The last one without a sibling goes up as it is.
        level = paired + level[2 * len(paired) :]
        index >>= 1
    return path


def root_by(path: Sequence[bytes], leaf_: bytes, index: int, size: int) -> bytes | None:
    """The root to which a path leads; None if no tree of this size has such a path."""
    if not 0 <= index < size:
        return None
    root, last = leaf_, size - 1
    for hash_ in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            while not index & 1:
                index, last = index >> 1, last >> 1
            root = node(hash_, root)
        else:
            root = node(root, hash_)
        index, last = index >> 1, last >> 1
    return root if last == 0 else None


class Misplaced(Exception):
    """Leaves don't stand one behind the other, or there are more than the tree has."""


def root_of_some(size: int, leaves: Iterable[tuple[int, bytes]], others: Callable[[int, int], bytes]) -> bytes:
    """The root of a tree of which some leaves are at hand, each with its index, in order.

    `others` gives the root over what lies between, from one index up to another; raises Misplaced.
    """
    known = iter(leaves)
    ahead = next(known, None)

    def over(first: int, last: int) -> bytes:
        nonlocal ahead
        if ahead is None or ahead[0] >= last:
            return others(first, last)
        if last - first > 1:
            middle = first + (1 << (last - first - 1).bit_length() - 1)
            return node(over(first, middle), over(middle, last))
        index, hash_ = ahead
        if index != first:
            raise Misplaced
        ahead = next(known, None)
        return hash_

    root = over(0, size)
    if ahead is not None:
        raise Misplaced
    return root
