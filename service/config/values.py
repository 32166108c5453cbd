"""What a setting may be: from the value in the file to a value that needs no further checks.

A ``Kind`` says in words what it takes and reads it; refusals never repeat a value that may be
a secret.
"""

import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

import phonenumbers

from service.config.problems import ValueRefusedError
from service.domain.errors import InvalidInputError
from service.domain.identifiers import EmailAddress, PhoneNumber
from service.sources.asterisk import COLUMNS
from service.sources.genesys import NAMES

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """What other settings lend to the one being read: where it stands and what it inherits."""

    base: Path
    archive_directory: Path = Path("data")
    default_region: str = "FI"
    grace_minutes: int = 60


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a setting takes, in words, and how it is read.

    ``read`` raises ``ValueRefusedError`` for anything else.
    """

    words: str
    read: Callable[[object, Context], T]


def text(words: str, pattern: str) -> Kind[str]:
    """Return the kind for text that matches ``pattern`` as a whole."""

    def read(value: object, _: Context) -> str:
        plain = require_text(value)
        if not re.fullmatch(pattern, plain):
            raise ValueRefusedError(f"expected {words}, got {plain!r}")
        return plain

    return Kind(words, read)


def whole_number(low: int, high: int) -> Kind[int]:
    """Return the kind for whole numbers from ``low`` to ``high``, both included."""
    words = f"a whole number from {low} to {high}"

    def read(value: object, _: Context) -> int:
        # TOML's true is a Python int.
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueRefusedError(f"expected {words}, got {describe(value)}")
        if not low <= value <= high:
            raise ValueRefusedError(f"expected {words}, got {value}")
        return value

    return Kind(words, read)


def choice(*known: str) -> Kind[str]:
    """Return the kind for one of ``known``."""
    words = " or ".join(f'"{name}"' for name in known)

    def read(value: object, _: Context) -> str:
        plain = require_text(value)
        if plain not in known:
            raise ValueRefusedError(f"expected {words}, got {plain!r}")
        return plain

    return Kind(words, read)


def _read_path(value: object, context: Context) -> Path:
    plain = require_text(value)
    if not plain:
        raise ValueRefusedError("expected a path, got nothing")
    if plain.startswith("~"):
        raise ValueRefusedError("~ means nothing here; write the path in full")
    return context.base / plain


def _read_optional_path(value: object, context: Context) -> Path | None:
    return None if value == "" else _read_path(value, context)


def _read_secret_file(value: object, context: Context) -> Path | None:
    plain = require_text(value)
    if re.match(r"whsec_|whsk_|sk_|AKIA|ASIA|-----BEGIN|AGE-SECRET-KEY-", plain, re.IGNORECASE):
        raise ValueRefusedError(
            "this is a secret itself; put it into a file and name the file here"
        )
    return _read_optional_path(plain, context)


def _read_timezone(value: object, _: Context) -> ZoneInfo:
    plain = require_text(value)
    try:
        return ZoneInfo(plain)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueRefusedError(
            f"expected a time zone such as Europe/Helsinki, got {plain!r}"
        ) from None


def _read_inherited_timezone(value: object, context: Context) -> ZoneInfo | None:
    return None if value == "" else _read_timezone(value, context)


def _read_region(value: object, _: Context) -> str:
    plain = require_text(value)
    if plain not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueRefusedError(
            f"expected a country as two capital letters such as FI, got {plain!r}"
        )
    return plain


def _read_inherited_region(value: object, context: Context) -> str:
    return context.default_region if value == "" else _read_region(value, context)


def _read_inherited_minutes(value: object, context: Context) -> int:
    own = whole_number(0, 30 * 24 * 60).read(value, context)
    return own or context.grace_minutes


def _read_cdr_columns(value: object, _: Context) -> tuple[str, ...]:
    columns = tuple(require_texts(value))
    named = [one for one in columns if one != "-"]
    if unknown := sorted(set(columns) - COLUMNS):
        raise ValueRefusedError(f"{unknown[0]!r} is no column of a call detail record")
    if len(set(named)) != len(named):
        raise ValueRefusedError("a column is named twice")
    if columns and not {"uniqueid", "linkedid"} & set(columns):
        raise ValueRefusedError("without uniqueid and linkedid nobody knows which call it is")
    return columns


def _read_genesys_names(value: object, _: Context) -> tuple[tuple[str, str], ...]:
    pairs = [one.partition("=") for one in require_texts(value)]
    names = tuple((ours.strip(), theirs.strip()) for ours, _, theirs in pairs)
    for ours, theirs in names:
        if ours not in NAMES or not theirs:
            raise ValueRefusedError(
                f"expected NAME = THEIRS, with one of {', '.join(NAMES)} as NAME, got {ours!r}"
            )
    if len({ours for ours, _ in names}) != len(names):
        raise ValueRefusedError("a name is given twice")
    return names


def _read_languages(value: object, _: Context) -> tuple[str, ...]:
    languages = require_texts(value)
    if not languages or len(set(languages)) < len(languages):
        raise ValueRefusedError("expected at least one language, each named once")
    for language in languages:
        if language not in LANGUAGES:
            raise ValueRefusedError(
                f"expected some of {', '.join(LANGUAGES)}, got {language!r}"
            )
    return languages


def _read_boolean(value: object, _: Context) -> bool:
    if not isinstance(value, bool):
        raise ValueRefusedError("expected true or false")
    return value


def _read_company_addresses(value: object, _: Context) -> tuple[str, ...]:
    """Return addresses in their canonical form, and domains as ``@example.com``."""
    found = []
    for one in require_texts(value):
        is_domain = one.startswith("@")
        try:
            # A domain is read as that of somebody.
            address = EmailAddress.parse(f"x{one}" if is_domain else one).address
        except InvalidInputError as error:
            raise ValueRefusedError(f"{one!r}: {error.detail}") from error
        found.append(address.removeprefix("x") if is_domain else address)
    return tuple(found)


def _read_phone_numbers(value: object, context: Context) -> tuple[PhoneNumber, ...]:
    numbers: list[PhoneNumber] = []
    for number in require_texts(value):
        try:
            numbers.append(PhoneNumber.parse(number, region=context.default_region))
        except InvalidInputError as error:
            raise ValueRefusedError(f"{number!r}: {error.detail}") from error
    return tuple(numbers)


def _read_recipient(value: object, _: Context) -> str:
    plain = require_text(value)
    if plain.upper().startswith("AGE-SECRET-KEY-"):
        raise ValueRefusedError(
            "this is a secret key; keep it offline and name its recipient (age1…) here"
        )
    # Bech32 (BIP 173): the characters after the separator, without 1, b, i and o.
    if plain and not re.fullmatch(r"age1(pq1)?[02-9ac-hj-np-z]{58,}", plain):
        raise ValueRefusedError("expected an age recipient (age1… or age1pq1…)")
    return plain


def _read_recipients(value: object, context: Context) -> tuple[str, ...]:
    recipients = tuple(_read_recipient(item, context) for item in require_texts(value))
    if "" in recipients:
        raise ValueRefusedError("expected age recipients (age1… or age1pq1…), got an empty one")
    return recipients


def require_text(value: object) -> str:
    """Return ``value`` if it is text without control characters, else refuse it."""
    if not isinstance(value, str):
        raise ValueRefusedError(f"expected text in double quotes, got {describe(value)}")
    if not value.isprintable():
        raise ValueRefusedError("has characters that cannot be seen")
    return value


def require_texts(value: object) -> tuple[str, ...]:
    """Return ``value`` if it is a list of texts, else refuse it."""
    if not isinstance(value, list):
        raise ValueRefusedError(f'expected a list such as ["…"], got {describe(value)}')
    return tuple(require_text(item) for item in value)


def describe(value: object) -> str:
    """Return what ``value`` is, without repeating text that may be a secret."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


LANGUAGES = ("fi", "sv", "en")
PATH = Kind("a path", _read_path)
OPTIONAL_PATH = Kind("a path, or nothing", _read_optional_path)
SECRET_FILE = Kind("the path of a file that holds a secret, or nothing", _read_secret_file)
TIMEZONE = Kind("a time zone of the IANA database", _read_timezone)
REGION = Kind("a country as two capital letters (ISO 3166)", _read_region)
INHERITED_TIMEZONE = Kind(
    "a time zone of the IANA database, or nothing", _read_inherited_timezone
)
INHERITED_REGION = Kind(
    "a country as two capital letters (ISO 3166), or nothing", _read_inherited_region
)
INHERITED_MINUTES = Kind("a whole number of minutes", _read_inherited_minutes)
CDR_COLUMNS = Kind(f"a list of {', '.join(sorted(COLUMNS))}", _read_cdr_columns)
GENESYS_NAMES = Kind(
    f"a list of NAME = THEIRS; NAME is one of {', '.join(NAMES)}", _read_genesys_names
)
LANGUAGE_LIST = Kind(f"a list of {', '.join(LANGUAGES)}", _read_languages)
BOOLEAN = Kind("true or false", _read_boolean)
COMPANY_ADDRESSES = Kind(
    "a list of e-mail addresses, and of domains such as @example.com", _read_company_addresses
)
PHONE_NUMBERS = Kind("a list of telephone numbers", _read_phone_numbers)
OBJECT_IDENTIFIER = text(
    "an object identifier such as 1.2.3, or nothing", r"([0-2](\.(0|[1-9][0-9]*))+)?"
)
RECIPIENT = Kind("an age recipient, or nothing", _read_recipient)
RECIPIENTS = Kind("a list of age recipients", _read_recipients)
