"""Random bytes for ids alone. Keys and nonces are never made of them.

Asking the kernel lets other threads run, and waiting for the turn to come back costs twenty times what the bytes do.
So they are fetched many at a time. A machine that is set back to a snapshot is given the same ones again: an id that
comes twice is refused by the store where it meets the first; a nonce would be refused by nobody.
"""

import os
from typing import Final

_BLOCK_BYTES: Final = 8192
_PIECE: Final = 16


class PublicRandom:
    """Hands out random bytes of the kernel, each byte once, also across a fork. For one thread or many."""

    __slots__ = ("_block", "_process")

    def __init__(self) -> None:
        self._block: list[bytes] = []
        self._process = 0

    def __call__(self, count: int) -> bytes:
        """Return ``count`` random bytes."""
        if self._process != os.getpid():
            # What a parent holds, its child must not hand out too.
            self._block, self._process = [], os.getpid()
        try:
            # One step of the interpreter, so that no two threads take the same piece.
            piece = self._block.pop()
        except IndexError:
            fresh = os.urandom(_BLOCK_BYTES)
            self._block = [fresh[at : at + _PIECE] for at in range(0, _BLOCK_BYTES, _PIECE)]
            piece = self._block.pop()
        return piece[:count] if count <= _PIECE else piece + os.urandom(count - _PIECE)


public_random: Final = PublicRandom()
