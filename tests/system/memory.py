"""The memory of a running process, as whoever takes its machine has it."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAP = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ *(.*)")
_TEXT_KEY = re.compile(rb"[A-Za-z0-9+/]{43}=")
_STEP = 8
_LONG, _SHORT = 32, 16
# Fewer than one in ten thousand random windows have so few different bytes.
_LONG_DIFFERENT, _SHORT_DIFFERENT = 24, 12
_STRIDE = 64
_EMPTY = bytes(4096)


@dataclass(frozen=True)
class Image:
    """Ranges of bytes: what each was called, and what was in it."""

    ranges: tuple[tuple[str, bytes], ...]

    @property
    def size_bytes(self) -> int:
        return sum(len(data) for _, data in self.ranges)

    def places(self, secret: bytes) -> list[str]:
        """Return where ``secret`` is, at whatever alignment; of each range the first place."""
        found = [(name, data.find(secret)) for name, data in self.ranges]
        return [f"{name}+{position:x}" for name, position in found if position >= 0]

    def around(self, secret: bytes, size: int) -> "Image":
        """Return the parts of the image of ``size`` bytes that have ``secret`` in the middle."""
        parts = []
        for name, data in self.ranges:
            position = data.find(secret)
            if position >= 0:
                begin = max(0, position - size // 2) // _STRIDE * _STRIDE
                parts.append((name, data[begin : begin + size]))
        return Image(tuple(parts))

    def windows(self) -> Iterator[bytes]:
        """Yield every different window of 32 and of 16 bytes that looks as random as a key.

        They are aligned as allocators align. Of random bytes nearly all are different; of text, pointers and what was
        overwritten, few.
        """
        seen = set()
        for _, part in self.ranges:
            # So that windows at its end are whole.
            data = part + bytes(_LONG)
            for begin in _touched(part):
                different = len(set(data[begin : begin + _STRIDE + _LONG]))
                if different < _SHORT_DIFFERENT:
                    continue
                for position in range(begin, min(begin + _STRIDE, len(part)), _SHORT):
                    window = data[position : position + _SHORT]
                    if len(set(window)) >= _SHORT_DIFFERENT and window not in seen:
                        seen.add(window)
                        yield window
                if different < _LONG_DIFFERENT:
                    continue
                for position in range(begin, min(begin + _STRIDE, len(part)), _STEP):
                    window = data[position : position + _LONG]
                    if len(set(window)) >= _LONG_DIFFERENT and window not in seen:
                        seen.add(window)
                        yield window


def _touched(data: bytes) -> Iterator[int]:
    """Yield where to look: nothing was ever written to most pages."""
    for page in range(0, len(data), len(_EMPTY)):
        if data[page : page + len(_EMPTY)] != _EMPTY:
            yield from range(page, min(page + len(_EMPTY), len(data)), _STRIDE)


def read_image(pid: int) -> Image:
    """Read everything writable in the memory of a process; only root may, or whoever the process lets."""
    ranges = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, stop, mode, name = _MAP.fullmatch(line).groups()
            if mode.startswith("rw"):
                data = _read(memory, int(start, 16), int(stop, 16))
                ranges.append((name or "anonymous", data))
    return Image(tuple(ranges))


def _read(memory, start: int, stop: int) -> bytes:
    memory.seek(start)
    parts = []
    while start < stop and (part := memory.read(stop - start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def disk_image(*folders: Path) -> Image:
    """Read every file below ``folders``, also as the keys that are written in them as text."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    ranges = [(str(path), path.read_bytes()) for path in files]
    texts = [(n, base64.b64decode(found)) for n, d in ranges for found in _TEXT_KEY.findall(d)]
    return Image((*ranges, *texts))
