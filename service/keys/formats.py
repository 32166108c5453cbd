"""The text of key files: comment lines with named values, and at most an age identity.

An epoch's file is at the same time an identity file of the age program (``age -d -i``). There is
one text per value: what does not come out again byte for byte is refused
(``docs/format-sealing.md``).
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from service.crypto.recipients import Recipient, parse_identity, parse_recipient
from service.crypto.secret import IndexMaster, WrappingKey
from service.domain.errors import InvalidInputError
from service.keys.epoch import Epoch, EpochKeys, EpochState, SigningSeed
from service.keys.intake import IntakeKeys

_EPOCH_TITLE = "Taltio epoch key. Whoever has it can open what the epoch sealed. Keep a backup."
_INTAKE_TITLE = (
    "Taltio intake keys. They seal, and open nothing. Not for the public all the same."
)
_INDEX_TITLE = "Taltio index master. Whoever has it can test guesses of numbers and addresses."
_LOG_TITLE = (
    "Taltio log signing key. Whoever has it can sign checkpoints in the archive's name."
)
_DESTROYED_TITLE = "Taltio: the keys of this epoch were destroyed on purpose. Keep this file."
_NUMBER = re.compile("[1-9][0-9]{0,5}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class IntakeRecord:
    """The public record of an epoch, as intake reads it."""

    keys: IntakeKeys
    created_at: datetime = field(repr=False)


def format_epoch(epoch: Epoch, keys: EpochKeys) -> str:
    """Return the text of an epoch's key file."""
    values = {
        "epoch": str(epoch.number),
        "created-at": _format_time(epoch.created_at),
        "recipient": str(epoch.recipient),
        "wrapping-key": _format_key(keys.wrapping_key),
    }
    return _format(_EPOCH_TITLE, "taltio-epoch-v1", values) + _identity_line(keys)


def parse_epoch(text: str) -> Epoch:
    """Return the epoch, as a retired one: the file does not say whether another followed.

    Raises:
        InvalidInputError: This is not the text of an epoch's key file.
    """
    *_, identity_text = text.removesuffix("\n").rpartition("\n")
    values = _values(text)
    keys = EpochKeys(
        parse_identity(identity_text), WrappingKey(_parse_key(values, "wrapping-key"))
    )
    epoch = Epoch(
        number=_parse_number(values),
        recipient=keys.identity.recipient,
        created_at=_parse_time(values, "created-at"),
        state=EpochState.RETIRED,
        keys=keys,
    )
    _require_same(format_epoch(epoch, keys), text)
    return epoch


def format_intake(keys: IntakeKeys, created_at: datetime) -> str:
    """Return the text of an epoch's intake file."""
    values = {
        "epoch": str(keys.epoch),
        "created-at": _format_time(created_at),
        "recipient": str(keys.recipient),
        "intake-index-master": _format_key(keys.index_master),
    }
    return _format(_INTAKE_TITLE, "taltio-intake-v1", values)


def parse_intake(text: str) -> IntakeRecord:
    """Return what an epoch's intake file says.

    Raises:
        InvalidInputError: This is not the text of an intake file.
    """
    values = _values(text)
    recipient: Recipient = parse_recipient(_value(values, "recipient"))
    master = IndexMaster(_parse_key(values, "intake-index-master"))
    record = IntakeRecord(
        IntakeKeys(_parse_number(values), recipient, master), _parse_time(values, "created-at")
    )
    _require_same(format_intake(record.keys, record.created_at), text)
    return record


def format_index_master(master: IndexMaster) -> str:
    """Return the text of the index master's file."""
    return _format(_INDEX_TITLE, "taltio-index-v1", {"index-master": _format_key(master)})


def parse_index_master(text: str) -> IndexMaster:
    """Return the index master.

    Raises:
        InvalidInputError: This is not the text of its file.
    """
    master = IndexMaster(_parse_key(_values(text), "index-master"))
    _require_same(format_index_master(master), text)
    return master


def format_signing_seed(seed: SigningSeed) -> str:
    """Return the text of the log signing key's file."""
    return _format(_LOG_TITLE, "taltio-log-v1", {"signing-seed": _format_key(seed)})


def parse_signing_seed(text: str) -> SigningSeed:
    """Return the log signing key.

    Raises:
        InvalidInputError: This is not the text of its file.
    """
    seed = SigningSeed(_parse_key(_values(text), "signing-seed"))
    _require_same(format_signing_seed(seed), text)
    return seed


def format_destroyed(number: int, destroyed_at: datetime) -> str:
    """Return the text that stands for a destroyed epoch."""
    values = {"epoch": str(number), "destroyed-at": _format_time(destroyed_at)}
    return _format(_DESTROYED_TITLE, "taltio-destroyed-v1", values)


def parse_destroyed(text: str) -> tuple[int, datetime]:
    """Return the number of a destroyed epoch, and when it was destroyed.

    Raises:
        InvalidInputError: This is not such a text.
    """
    values = _values(text)
    number, destroyed_at = _parse_number(values), _parse_time(values, "destroyed-at")
    _require_same(format_destroyed(number, destroyed_at), text)
    return number, destroyed_at


def _format(title: str, kind: str, values: Mapping[str, str]) -> str:
    lines = [title, f"format: {kind}", *(f"{name}: {value}" for name, value in values.items())]
    return "".join(f"# {line}\n" for line in lines)


def _identity_line(keys: EpochKeys) -> str:
    return f"{keys.identity.format_secret()}\n"


def _values(text: str) -> dict[str, str]:
    # Order and repetition need no check here: the text must come out again as it is.
    pairs = (line[2:].split(": ", 1) for line in text.split("\n") if line.startswith("# "))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}  # noqa: PLR2004  # a pair


def _value(values: Mapping[str, str], name: str) -> str:
    if name not in values:
        raise InvalidInputError(f"The key file does not say its {name}.")
    return values[name]


def _parse_number(values: Mapping[str, str]) -> int:
    text = _value(values, "epoch")
    if not _NUMBER.fullmatch(text):
        raise InvalidInputError("The key file does not number its epoch.")
    return int(text)


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_TIME)


def _parse_time(values: Mapping[str, str], name: str) -> datetime:
    try:
        return datetime.strptime(_value(values, name), _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidInputError(f"The key file's {name} is not a time.") from error


def _format_key(key: bytes) -> str:
    return b64encode(key).decode("ascii")


def _parse_key(values: Mapping[str, str], name: str) -> bytes:
    try:
        key = b64decode(_value(values, name), validate=True)
    except ValueError:
        # The chain could show a part of the key.
        raise InvalidInputError(f"The key file's {name} is not base64.") from None
    if len(key) != WrappingKey.size_bytes:
        raise InvalidInputError(f"The key file's {name} has the wrong length.")
    return key


def _require_same(expected: str, text: str) -> None:
    if expected != text:
        raise InvalidInputError("The key file was edited: it is not as it was written.")
