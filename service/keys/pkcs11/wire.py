"""What parent and child say to each other: JSON in frames, over one socket that nobody else has."""

import json
import socket
import struct
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

_LENGTH: Final = struct.Struct(">I")
_MOST_BYTES: Final = 1024 * 1024


class Fault(StrEnum):
    """Why the child did not do what it was asked."""

    LIBRARY = "library"
    """python-pkcs11 is not installed."""
    MODULE = "module"
    """The module cannot be loaded."""
    ABSENT = "absent"
    """No slot has the token now."""
    AWAY = "away"
    """The token or its module failed; it may be gone, or its session over."""
    SEVERAL_TOKENS = "several_tokens"
    SEVERAL_KEYS = "several_keys"
    NO_KEY = "no_key"
    UNFIT_KEY = "unfit_key"
    UNSUPPORTED = "unsupported"
    PIN = "pin"
    """The token did not take the PIN."""
    PIN_LOCKED = "pin_locked"
    PIN_LAST_TRY = "pin_last_try"
    """It was not tried: one more wrong PIN would lock the token."""
    SEALED = "sealed"
    """The token works and does not open these bytes."""


class GoneError(Exception):
    """The other side has ended, or talks nonsense."""


def send(end: socket.socket, message: Mapping[str, object]) -> None:
    """Send one message.

    Raises:
        GoneError: The other side has ended.
        TimeoutError: It did not take the message in the socket's time.
    """
    data = json.dumps(message).encode()
    try:
        end.sendall(_LENGTH.pack(len(data)) + data)
    except TimeoutError:
        raise
    except OSError:
        # The chain is cut: nothing of a message belongs into a report.
        raise GoneError from None


def receive(end: socket.socket, *, within: float | None = None) -> dict[str, object]:
    """Return the next message, which has to be there whole ``within`` so many seconds.

    Raises:
        GoneError: The other side has ended, or sent no message of ours.
        TimeoutError: It did not send a whole one in time.
    """
    until = None if within is None else time.monotonic() + within
    (length,) = _LENGTH.unpack(_exactly(end, _LENGTH.size, until))
    if length > _MOST_BYTES:
        raise GoneError
    try:
        message = json.loads(_exactly(end, length, until))
    except ValueError:
        raise GoneError from None
    if not isinstance(message, dict):
        raise GoneError
    return message


def _exactly(end: socket.socket, length: int, until: float | None) -> bytes:
    data = bytearray()
    while len(data) < length:
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            end.settimeout(left)
        try:
            more = end.recv(length - len(data))
        except TimeoutError:
            raise
        except OSError:
            raise GoneError from None
        if not more:
            raise GoneError
        data += more
    return bytes(data)
