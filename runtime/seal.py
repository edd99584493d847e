"""What shows that saved rows were changed, moved, added or taken away, by whomever.

Every row has a keyed digest over all that it says, its thread and its step included. A step has the
digest of its own row and the sum of those of its pending writes; a thread has the sum over its steps,
under a digest of its own: its head. Sums modulo 2^256 change with one row and tell the same set of rows
in any order (Bellare and Micciancio, 1997); without the key nobody can make a row that fits.
"""

import hashlib
from typing import Any, NamedTuple

import ormsgpack

SIZE = 32
MEND = "put the database back from a copy, or drop the thread"
WHOLE = 1 << (8 * SIZE)


class Head(NamedTuple):
    """The state of a thread's rows: how often they were written, how many there are, and the sum of their digests."""

    sequence: int = 0
    rows: int = 0
    sum: int = 0


class Sealer:
    """Makes digests under one key."""

    def __init__(self, key: bytes) -> None:
        self._blank = hashlib.blake2b(key=hashlib.blake2b(key, person=b"motet seal").digest(), digest_size=SIZE)

    def of(self, *parts: Any) -> int:
        """The keyed digest of a row. MessagePack says where each part ends, so that no two rows read the same."""
        try:
            text = ormsgpack.packb(parts)
        except TypeError:  # half a character in a name
            text = repr(parts).encode()
        made = self._blank.copy()
        made.update(text)
        return int.from_bytes(made.digest())

    def head(self, thread: str, head: Head) -> bytes:
        """The digest of a head."""
        return stored(self.of("head", thread, head.sequence, head.rows, stored(head.sum % WHOLE)))


def readable(name: str) -> bool:
    """Whether a name is whole text; a bit that is flipped may leave none, which is read with half characters."""
    return name == name.encode(errors="replace").decode()


def stored(digest: int) -> bytes:
    """A digest, or a sum of them, as it stands in a row."""
    return digest.to_bytes(SIZE)


def read(digest: object) -> int:
    """A digest as it stands in a row; of what is none, a number that no digest has."""
    return int.from_bytes(digest) if isinstance(digest, bytes) and len(digest) == SIZE else -1
