"""Opening small age files, whole in memory, as an age program would."""

from collections.abc import Sequence

from service.crypto.age import open_header, parse_header
from service.crypto.recipients import Identity
from service.crypto.stream import open_stream


def open_file(data: bytes, identities: Sequence[Identity]) -> bytes:
    """Return what an ``.age`` file holds, once all of it is verified."""
    header = parse_header(data)
    file_key = open_header(header, identities)
    return b"".join(open_stream(file_key, [memoryview(data)[header.length_bytes :]]))
