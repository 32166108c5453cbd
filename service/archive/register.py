"""The customer register as a CSV file: parsed row by row, what is wrong told by line and reason.

Columns: customer_number, name, identity_code, business_id, phone, email, language, protected, metering_point,
occupied_from, occupied_to, marketing_permissions. Only the first is required; several rows of one number add up.
"""

import csv
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from service.domain.customer import Customer, Occupancy
from service.domain.errors import InvalidInputError
from service.domain.identifiers import (
    BusinessId,
    CustomerNumber,
    EmailAddress,
    MeteringPoint,
    PersonalIdentityCode,
    PhoneNumber,
    require_plain,
)

COLUMNS: Final = (
    "customer_number",
    "name",
    "identity_code",
    "business_id",
    "phone",
    "email",
    "language",
    "protected",
    "metering_point",
    "occupied_from",
    "occupied_to",
    "marketing_permissions",
)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_YES: Final = frozenset({"1", "yes", "true", "y", "kyllä", "k", "ja"})
_NO: Final = frozenset({"", "0", "no", "false", "n", "ei", "e", "nej"})


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A row that was left out: its line in the file, and why, without its values."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class RegisterRow:
    """A row, or several that add up: the customer, without an id, of whom the file tells the fields ``told``."""

    line: int
    customer: Customer
    told: frozenset[str]


_FIELDS: Final = {
    "customer_number": "number",
    "phone": "phones",
    "email": "emails",
    "protected": "is_protected",
    "metering_point": "occupancies",
    "occupied_from": "occupancies",
    "occupied_to": "occupancies",
}
"""The field of a customer that a column tells, where it is called otherwise."""


def read_register(lines: Iterable[str], *, region: str) -> Iterator[RegisterRow | WrongRow]:
    """Yield each row of the file, or what is wrong with it.

    The separator is a comma or a semicolon, whichever the heading has. A row is one line: no value has a line break,
    and a quotation mark that is missing spoils no other row.

    Raises:
        InvalidInputError: The heading is not usable; the detail names the column and the nearest known one.
    """
    rows = iter(lines)
    heading = next(rows, "").lstrip("\ufeff")
    separator = ";" if heading.count(";") > heading.count(",") else ","
    try:
        names = next(csv.reader([heading], delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise InvalidInputError("the heading cannot be read as CSV") from error
    columns = [name.strip().lower() for name in names]
    _require_columns(columns)
    told = frozenset(_FIELDS.get(name, name) for name in columns)
    for line, text in enumerate(rows, start=2):
        try:
            values = next(csv.reader([text], delimiter=separator, strict=True), [])
        except csv.Error:
            yield WrongRow(line, "the quotation marks do not match, or a value is too long")
            continue
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(columns):
            yield WrongRow(line, f"{len(values)} values for {len(columns)} columns")
            continue
        row = {name: value.strip() for name, value in zip(columns, values, strict=True)}
        try:
            yield RegisterRow(line, _customer(row, region=region), told)
        except InvalidInputError as error:
            yield WrongRow(line, error.detail)


def complete(told: RegisterRow, known: Customer) -> Customer:
    """Return the ``known`` customer as the file tells of them; what it has no column for stays."""
    values = {name: getattr(told.customer, name) for name in told.told}
    return replace(known, **values)


def add_up(known: Customer | None, row: Customer) -> Customer:
    """Return the customer of several rows: later ones add telephones, addresses and places, and fill what is empty."""
    if known is None:
        return row
    return replace(
        known,
        name=known.name or row.name,
        identity_code=known.identity_code or row.identity_code,
        business_id=known.business_id or row.business_id,
        phones=tuple(dict.fromkeys((*known.phones, *row.phones))),
        emails=tuple(dict.fromkeys((*known.emails, *row.emails))),
        language=known.language or row.language,
        is_protected=known.is_protected or row.is_protected,
        occupancies=tuple(dict.fromkeys((*known.occupancies, *row.occupancies))),
        marketing_permissions=known.marketing_permissions or row.marketing_permissions,
    )


def _require_columns(columns: list[str]) -> None:
    for name in columns:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(COLUMNS)}"
            raise InvalidInputError(f"the heading has an unknown column {name[:40]!r}{hint}")
    if len(set(columns)) != len(columns):
        raise InvalidInputError("the heading has a column twice")
    if "customer_number" not in columns:
        raise InvalidInputError("the heading has no column customer_number")


def _customer(row: Mapping[str, str], *, region: str) -> Customer:
    def value(name: str) -> str | None:
        text = row.get(name)
        return require_plain(text, what=name) if text else None

    phone, email, point = value("phone"), value("email"), value("metering_point")
    code, business_id = value("identity_code"), value("business_id")
    return Customer(
        id="",
        version=1,
        number=CustomerNumber.parse(row["customer_number"]).text,
        name=value("name"),
        identity_code=PersonalIdentityCode.parse(code).code if code else None,
        business_id=BusinessId.parse(business_id).text if business_id else None,
        phones=(PhoneNumber.parse(phone, region=region).e164,) if phone else (),
        emails=(EmailAddress.parse(email).address,) if email else (),
        language=value("language"),
        is_protected=_is_protected(row.get("protected", "")),
        occupancies=_occupancies(point, row),
        marketing_permissions=value("marketing_permissions"),
    )


def _is_protected(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise InvalidInputError("protected is yes or no")
    return text.lower() in _YES


def _occupancies(point: str | None, row: Mapping[str, str]) -> tuple[Occupancy, ...]:
    begins, ends = _date(row, "occupied_from"), _date(row, "occupied_to")
    if point is None:
        if begins or ends:
            raise InvalidInputError("occupied_from and occupied_to need a metering_point")
        return ()
    if begins and ends and ends <= begins:
        raise InvalidInputError("occupied_to is not after occupied_from")
    digits = MeteringPoint.parse(point).digits
    return (Occupancy(metering_point=digits, occupied_from=begins, occupied_to=ends),)


def _date(row: Mapping[str, str], name: str) -> date | None:
    text = row.get(name)
    if not text:
        return None
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidInputError(f"{name} is not a date such as 2026-11-22")
