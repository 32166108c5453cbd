"""The customer register as a CSV file: parsed row by row, what is wrong told by line and reason.

Columns: customer_number, name, identity_code, business_id, phone, email, language, protected, metering_point,
occupied_from, occupied_to, marketing_permissions. Only the first is required; several rows of one number add up.
"""

import csv
import difflib
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
_YES: Final = frozenset({"1", "yes", "true", "y", "kyllä", "k", "ja"})
_NO: Final = frozenset({"", "0", "no", "false", "n", "ei", "e", "nej"})


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A row that was left out: its line in the file, and why, without its values."""

    line: int
    reason: str


def read_register(lines: Iterable[str], *, region: str) -> Iterator[Customer | WrongRow]:
    """Yield each row of the file as a customer without an id, or what is wrong with it.

    The separator is a comma or a semicolon, whichever the heading has.

    Raises:
        InvalidInputError: The heading is not usable; the detail names the column and the nearest known one.
    """
    rows = iter(lines)
    heading = next(rows, "").lstrip("\ufeff")
    separator = ";" if heading.count(";") > heading.count(",") else ","
    columns = [
        name.strip().lower() for name in next(csv.reader([heading], delimiter=separator), [])
    ]
    _require_columns(columns)
    reader = csv.reader(rows, delimiter=separator, strict=True)
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield WrongRow(reader.line_num + 1, "the quotation marks do not match")
            continue
        line = reader.line_num + 1
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(columns):
            yield WrongRow(line, f"{len(values)} values for {len(columns)} columns")
            continue
        row = {name: value.strip() for name, value in zip(columns, values, strict=True)}
        try:
            yield _customer(row, region=region)
        except InvalidInputError as error:
            yield WrongRow(line, error.detail)


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
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"{name} is not a date such as 2026-11-22") from error
