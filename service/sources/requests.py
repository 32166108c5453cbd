"""A request of a system that has a format of its own, as it came."""

from collections.abc import Iterable

import msgspec

from service.domain.errors import InvalidInputError


class ReceivedRequest(msgspec.Struct, frozen=True):
    """What was sent, without what authenticated it: nothing in ``target`` or ``headers`` is a secret.

    ``target`` is path and query as they were sent; ``headers`` are in their order, with names in small letters.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def query(self) -> str:
        """What follows the first question mark, as it was sent."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str:
        """Return the first header of ``name`` (small letters), or nothing."""
        return next((value for known, value in self.headers if known == name), "")

    def encode(self) -> bytes:
        """Return the body of the delivery that keeps it."""
        return msgspec.msgpack.encode(self)


def target_of(source: str, query: str) -> str:
    """Return the path of ``source``'s requests with ``query``, as it is kept: without what authenticates."""
    return f"/intake/{source}?{query}" if query else f"/intake/{source}"


_CREDENTIALS = frozenset({b"authorization", b"proxy-authorization", b"cookie"})


def received_request(
    method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> ReceivedRequest:
    """Return the request with the headers that carry no credentials.

    Names and values that are not UTF-8 are read as ISO 8859-1.
    """
    told = tuple(
        (_text(name).lower(), _text(value))
        for name, value in headers
        if name.lower() not in _CREDENTIALS
    )
    return ReceivedRequest(method=method, target=target, headers=told, body=body)


def decode_request(body: bytes) -> ReceivedRequest:
    """Return the request that a delivery keeps.

    Raises:
        InvalidInputError: It keeps none.
    """
    try:
        return msgspec.msgpack.decode(body, type=ReceivedRequest)
    except msgspec.MsgspecError:
        raise InvalidInputError("the delivery is not a request") from None


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("iso-8859-1")
