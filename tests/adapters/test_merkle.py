"""The tree proves what is in it, and nothing else."""

from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from adapters.merkle import (
    CHUNK,
    Misplaced,
    Tree,
    leaf,
    node,
    path_to,
    root_by,
    root_of,
    root_of_chunk,
    root_of_some,
)
from adapters.seals import Seals

contents = st.lists(st.binary(max_size=8), min_size=1, max_size=70, unique=True)
hashes = st.binary(min_size=32, max_size=32)


def by_the_book(leaves: list[bytes]) -> bytes:
    """The definition of RFC 9162, 2.1.1, word by word."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node(by_the_book(leaves[:k]), by_the_book(leaves[k:]))


@given(contents)
def test_a_tree_that_grows_has_at_every_size_the_root_of_the_book(some: list[bytes]) -> None:
    leaves, tree = [leaf(content) for content in some], Tree()
    assert tree.root() == by_the_book([])
    for size, hash_ in enumerate(leaves, start=1):
        tree.add(hash_)
        assert tree.root() == by_the_book(leaves[:size])


@given(contents, st.data())
def test_every_leaf_is_proved_by_a_path_no_longer_than_the_tree_is_high(some: list[bytes], data: st.DataObject) -> None:
    leaves = [leaf(content) for content in some]
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = path_to(index, leaves)
    assert len(path) <= (len(leaves) - 1).bit_length()
    assert root_by(path, leaves[index], index, len(leaves)) == root_of(leaves)


@given(contents, hashes, st.data())
def test_nothing_else_is_proved(some: list[bytes], other: bytes, data: st.DataObject) -> None:
    leaves = [leaf(content) for content in some]
    size = len(leaves)
    index, elsewhere = data.draw(st.integers(0, size - 1)), data.draw(st.integers(-1, size))
    path, root = path_to(index, leaves), root_of(leaves)
    assert root_by(path, other, index, size) != root
    assert root_by([*path, other], leaves[index], index, size) is None
    if elsewhere != index:
        assert root_by(path, leaves[index], elsewhere, size) != root
    for place in range(len(path)):
        assert root_by([*path[:place], other, *path[place + 1 :]], leaves[index], index, size) != root
        assert root_by(path[:place] + path[place + 1 :], leaves[index], index, size) != root


@given(contents)
def test_a_node_is_never_taken_for_a_leaf(some: list[bytes]) -> None:
    leaves = [leaf(content) for content in some]
    for left, right in pairwise(leaves):
        assert leaf(left + right) != node(left, right)


@given(st.integers(1, 3 * CHUNK), st.data())
def test_chunks_may_stand_for_their_leaves(size: int, data: st.DataObject) -> None:
    leaves = [leaf(str(number).encode()) for number in range(size)]
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    chunks = [leaves[first : first + CHUNK] for first in range(0, size, CHUNK)]
    above = [root_of(chunk) for chunk in chunks]
    assert path_to(index % CHUNK, chunks[index // CHUNK]) + path_to(index // CHUNK, above) == path_to(index, leaves)
    tree = Tree()
    tree.extend(b"".join(leaves[:first]))
    tree.extend(b"".join(leaves[first:]))
    assert tree.root() == root_of(above) == root_of(leaves)
    assert tree.size == size


def test_the_root_of_a_chunk_is_that_of_its_leaves() -> None:
    leaves = [leaf(str(number).encode()) for number in range(CHUNK)]
    assert root_of_chunk(b"".join(leaves)) == root_of(leaves)


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=70), st.data())
def test_some_leaves_and_the_roots_between_them_give_the_root_and_others_another(
    some: list[bytes], data: st.DataObject
) -> None:
    leaves = [leaf(content) for content in some]
    places = sorted(data.draw(st.sets(st.integers(0, len(leaves) - 1), min_size=1)))

    def between(first: int, last: int) -> bytes:
        return by_the_book(leaves[first:last])

    known = [(place, leaves[place]) for place in places]
    assert root_of_some(len(leaves), known, between) == by_the_book(leaves)
    changed = data.draw(st.integers(0, len(known) - 1))
    known[changed] = (places[changed], leaf(b"changed"))
    assert root_of_some(len(leaves), known, between) != by_the_book(leaves)


@pytest.mark.parametrize("places", [(1, 0), (0, 0), (3,), (0, 1, 2, 3), (-1,)])
def test_leaves_that_do_not_stand_one_behind_the_other_give_no_root(places: tuple[int, ...]) -> None:
    with pytest.raises(Misplaced):
        root_of_some(3, [(place, leaf(b"x")) for place in places], lambda first, last: leaf(b"x"))


def test_seals_give_the_roots_between_also_of_whole_chunks(tmp_path: Path) -> None:
    leaves = [leaf(b"%d" % number) for number in range(5 * CHUNK + 7)]
    head = Seals(tmp_path).extend(None, [b"".join(leaves)], "here", "now", Ed25519PrivateKey.generate())
    for places in ([0], [5 * CHUNK + 6], [3, 1500, 4 * CHUNK], [CHUNK, CHUNK + 1]):
        known = [(place, leaves[place]) for place in places]
        assert root_of_some(head.size, known, Seals(tmp_path).root_over) == head.root
