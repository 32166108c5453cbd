"""Putting the certificates of a timestamp into the order that DER asks for.

DER sorts the members of a set (X.690, 11.6); OpenSSL and others leave the certificates of a CMS message as they come
(RFC 5652, section 5.1), and no signature covers their order.
"""

from typing import Final

from service.log.errors import FormatError

_SEQUENCE: Final = 0x30
_EXPLICIT_0: Final = 0xA0
_LONG_FORM: Final = 0x80
_MAX_LENGTH_BYTES: Final = 4

_Span = tuple[int, int, int]
"""Of one value: where it begins, where its content begins, where it ends."""


def sorted_certificates(response: bytes) -> bytes:
    """Return the time-stamp ``response`` (RFC 3161, section 2.4.2) with the certificates of its token in DER's order.

    What has no token is returned as it is. Nothing but the way down to the certificates is looked at.

    Raises:
        FormatError: On that way there is no DER.
    """
    outer = _members(response, _value(response, 0), _SEQUENCE)
    if len(outer) < 2:  # noqa: PLR2004  # status, and a token where it was granted
        return response
    _, content = _exactly(_members(response, outer[1], _SEQUENCE), 2)
    (signed,) = _exactly(_members(response, content, _EXPLICIT_0), 1)
    for member in _members(response, signed, _SEQUENCE):
        if response[member[0]] == _EXPLICIT_0:
            found = _members(response, member, _EXPLICIT_0)
            ordered = b"".join(sorted(response[one[0] : one[2]] for one in found))
            return response[: member[1]] + ordered + response[member[2] :]
    return response


def _exactly(members: list[_Span], count: int) -> list[_Span]:
    if len(members) != count:
        raise FormatError("A timestamp is not in the form that RFC 3161 gives it.")
    return members


def _members(data: bytes, span: _Span, tag: int) -> list[_Span]:
    start, position, end = span
    if data[start] != tag:
        raise FormatError("A timestamp is not in the form that RFC 3161 gives it.")
    members = []
    while position < end:
        member = _value(data, position)
        members.append(member)
        position = member[2]
    if position != end:
        raise FormatError("A value in a timestamp reaches beyond what holds it.")
    return members


def _value(data: bytes, start: int) -> _Span:
    head = data[start : start + 2]
    if len(head) < 2:  # noqa: PLR2004  # a tag and a length
        raise FormatError("A timestamp breaks off.")
    content, length = start + 2, head[1]
    if length >= _LONG_FORM:
        count = length - _LONG_FORM
        if not 0 < count <= _MAX_LENGTH_BYTES:
            raise FormatError("A length in a timestamp is not that of DER.")
        length = int.from_bytes(data[content : content + count], "big")
        content += count
    if content + length > len(data):
        raise FormatError("A timestamp breaks off.")
    return start, content, content + length
