"""Bytes for recordings: random, the same in every run, and as many as are wanted."""

import random
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

_POOL_BYTES: Final = 8 << 20
_BLOCK_BYTES: Final = 1 << 20


@cache
def _pool() -> bytes:
    return random.Random(20261122).randbytes(_POOL_BYTES)  # noqa: S311  # content, not a secret


def blocks(size_bytes: int) -> Iterator[memoryview]:
    """Yield ``size_bytes`` of noise."""
    pool, left, at = memoryview(_pool()), size_bytes, 0
    while left:
        taken = min(_BLOCK_BYTES, left)
        yield pool[at : at + taken]
        at, left = (at + _BLOCK_BYTES) % _POOL_BYTES, left - taken


def wave_blocks(size_bytes: int) -> Iterator[memoryview]:
    """Yield a sound file of ``size_bytes``: two channels of 16 bits at 16 kHz, PCM (RIFF WAVE)."""
    data_bytes = size_bytes - 44
    yield memoryview(
        struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF",
            data_bytes + 36,
            b"WAVE",
            b"fmt ",
            16,
            1,
            2,
            16_000,
            64_000,
            4,
            16,
            b"data",
            data_bytes,
        )
    )
    yield from blocks(data_bytes)


def write_file(path: Path, size_bytes: int) -> None:
    """Write the same noise to a file."""
    with path.open("xb") as file:
        for block in blocks(size_bytes):
            file.write(block)
