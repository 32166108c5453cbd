"""Small age files, whole in memory: header and payload together."""

import os
from collections.abc import Callable, Sequence

from service.crypto.age import seal_header
from service.crypto.recipients import Recipient
from service.crypto.secret import FileKey
from service.crypto.stream import PayloadSealer


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
