"""Small age files, whole in memory: header and payload together."""

import os
from collections.abc import Callable, Sequence

from service.crypto.age import open_header, parse_header, seal_header
from service.crypto.recipients import Identity, Recipient
from service.crypto.secret import FileKey
from service.crypto.stream import PayloadSealer, open_stream


def seal_file(
    plain: bytes,
    recipients: Sequence[Recipient],
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Return an ``.age`` file that each of ``recipients`` opens, with any age program.

    Raises:
        InvalidInputError: There are no recipients, or they do not mix.
    """
    file_key = FileKey.generate(random)
    sealer = PayloadSealer(file_key, random=random)
    header = seal_header(file_key, recipients, random)
    return b"".join((header, sealer.update(plain), sealer.finish()))


def open_file(data: bytes, identities: Sequence[Identity]) -> bytes:
    """Return what an ``.age`` file holds, once all of it is verified.

    Raises:
        HeaderError, NoMatchError, HeaderMacError: As ``service.crypto.age.open_header``.
        PayloadError: The payload is cut short, extended or changed.
    """
    header = parse_header(data)
    file_key = open_header(header, identities)
    return b"".join(open_stream(file_key, [memoryview(data)[header.length_bytes :]]))
