"""The age v1 header: a file key, sealed to recipients (C2SP age, section "Header").

Header and payload together are one valid ``.age`` file; here they are kept apart, so that a
file key can be sealed to new recipients without touching what it encrypts.
"""

import hmac
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from service.crypto.errors import HeaderError, HeaderMacError, NoMatchError
from service.crypto.recipients import (
    Identity,
    Recipient,
    Stanza,
    decode_base64,
    encode_base64,
)
from service.crypto.secret import FileKey, derive
from service.domain.errors import InvalidInputError

MAX_HEADER_BYTES = 65536
MAX_STANZAS = 64

_VERSION_LINE = b"age-encryption.org/v1\n"
_COLUMNS = 64
_MAC_BYTES = 32
_FIRST_VISIBLE, _LAST_VISIBLE = "\x21", "\x7e"


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header: nothing in it is trusted until it has been opened.

    ``length_bytes`` is where the payload follows; ``authenticated`` is what the code covers.
    """

    stanzas: tuple[Stanza, ...]
    mac: bytes = field(repr=False)
    authenticated: bytes = field(repr=False)
    length_bytes: int


def seal_header(
    file_key: FileKey,
    recipients: Sequence[Recipient],
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Return a header from which each of ``recipients`` can open ``file_key``.

    Raises:
        InvalidInputError: There are no recipients, too many, or hybrid and classic ones
            together: the classic one would undo what the hybrid one protects against.
    """
    if not 0 < len(recipients) <= MAX_STANZAS:
        raise InvalidInputError(f"A header has 1 to {MAX_STANZAS} recipients.")
    if len({recipient.family for recipient in recipients}) > 1:
        raise InvalidInputError("Hybrid (age1pq1…) and X25519 (age1…) recipients do not mix.")
    stanzas = [_encode_stanza(recipient.wrap(file_key, random)) for recipient in recipients]
    authenticated = b"".join([_VERSION_LINE, *stanzas, b"---"])
    mac = encode_base64(_mac(file_key, authenticated)).encode("ascii")
    sealed = b"".join([authenticated, b" ", mac, b"\n"])
    if len(sealed) > MAX_HEADER_BYTES:
        raise InvalidInputError("With so many recipients the header would be too long.")
    return sealed


def parse_header(data: bytes) -> Header:
    """Return the header at the start of ``data``, which may go on with the payload.

    Raises:
        HeaderError: It breaks the format, is cut short, is longer than 64 KiB or has more
            than 64 stanzas.
    """
    reader = _Reader(data[:MAX_HEADER_BYTES])
    if not data.startswith(_VERSION_LINE):
        raise HeaderError("This is not an age v1 header.")
    reader.position = len(_VERSION_LINE)
    stanzas: list[Stanza] = []
    while (line := reader.line()).startswith("-> "):
        if len(stanzas) == MAX_STANZAS:
            raise HeaderError(f"The header has more than {MAX_STANZAS} stanzas.")
        stanzas.append(_parse_stanza(line, reader))
    if not line.startswith("--- "):
        raise HeaderError("The header has a line that is neither a stanza nor its end.")
    mac = decode_base64(line[4:])
    if len(mac) != _MAC_BYTES:
        raise HeaderError("The header's authentication code has the wrong length.")
    kinds = [stanza.kind for stanza in stanzas]
    if not kinds or ("scrypt" in kinds and len(kinds) > 1):
        raise HeaderError("The header has no stanza, or a passphrase beside others.")
    end = reader.position - len(line) - 1
    return Header(tuple(stanzas), mac, data[: end + 3], reader.position)


def open_header(header: Header, identities: Sequence[Identity]) -> FileKey:
    """Return the file key, once the header is known to be whole.

    Raises:
        HeaderError: A stanza that one of ``identities`` should understand is malformed.
        NoMatchError: None of ``identities`` opens it.
        HeaderMacError: One does, and the header was changed all the same.
    """
    file_key = next(_unwrapped(header, identities), None)
    if file_key is None:
        raise NoMatchError("No identity at hand opens this header.")
    if not hmac.compare_digest(_mac(file_key, header.authenticated), header.mac):
        raise HeaderMacError("The header was changed after it was sealed.")
    return file_key


def rewrap_header(
    header: Header, identities: Sequence[Identity], recipients: Sequence[Recipient]
) -> bytes:
    """Return a new header for the same payload, sealed to ``recipients`` alone.

    This does not revoke: whoever could open the old header may still know the file key.

    Raises:
        HeaderError, NoMatchError, HeaderMacError: As ``open_header``.
        InvalidInputError: As ``seal_header``.
    """
    return seal_header(open_header(header, identities), recipients)


class _Reader:
    """Lines of a header, each ended by one line feed."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def line(self) -> str:
        end = self._data.find(b"\n", self.position)
        if end < 0:
            raise HeaderError("The header is cut short, or longer than 64 KiB.")
        line, self.position = self._data[self.position : end], end + 1
        try:
            return line.decode("ascii")
        except UnicodeDecodeError as error:
            raise HeaderError("The header has a character that is not ASCII.") from error


def _parse_stanza(line: str, reader: _Reader) -> Stanza:
    kind, *arguments = line[3:].split(" ")
    for word in (kind, *arguments):
        if not word or not all(_FIRST_VISIBLE <= letter <= _LAST_VISIBLE for letter in word):
            raise HeaderError("A stanza has an empty argument or an invisible character.")
    return Stanza(kind, tuple(arguments), b"".join(_body(reader)))


def _body(reader: _Reader) -> Iterator[bytes]:
    """Yield the lines of a body: full ones, and a shorter last one, which may be empty."""
    while len(line := reader.line()) == _COLUMNS:
        yield decode_base64(line)
    if len(line) > _COLUMNS:
        raise HeaderError("A stanza has a line longer than 64 characters.")
    yield decode_base64(line)


def _encode_stanza(stanza: Stanza) -> bytes:
    text = encode_base64(stanza.body)
    # One past the end as well: a body of whole lines is closed by an empty one.
    lines = [text[start : start + _COLUMNS] for start in range(0, len(text) + 1, _COLUMNS)]
    words = " ".join(("->", stanza.kind, *stanza.arguments))
    return "\n".join((words, *lines, "")).encode("ascii")


def _unwrapped(header: Header, identities: Sequence[Identity]) -> Iterator[FileKey]:
    for identity in identities:
        for stanza in header.stanzas:
            file_key = identity.unwrap(stanza)
            if file_key is not None:
                yield file_key


def _mac(file_key: FileKey, authenticated: bytes) -> bytes:
    return hmac.digest(derive(file_key, info=b"header"), authenticated, "sha256")
