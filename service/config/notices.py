"""Settings of the notice: what it covers, and from which day."""

import re
from datetime import date

from service.config.problems import ValueRefusedError
from service.config.values import Context, Kind, describe, require_texts
from service.domain.errors import InvalidInputError
from service.domain.notice import Traffic

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _read_traffic(value: object, _: Context) -> tuple[Traffic, ...]:
    carried: list[Traffic] = []
    for text in require_texts(value):
        try:
            carried.append(Traffic.parse(text))
        except InvalidInputError as error:
            raise ValueRefusedError(f"expected {error.detail}, got {text!r}") from None
    if len(set(carried)) < len(carried):
        raise ValueRefusedError("names the same twice")
    return tuple(carried)


def _read_day(value: object, _: Context) -> date | None:
    if value == "":
        return None
    # A day without quotes is one to TOML itself; a moment is not (a datetime is a date to Python).
    if type(value) is date:
        return value
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueRefusedError("there is no such day") from None
    raise ValueRefusedError(f'expected a day such as "2026-10-01", got {describe(value)}')


TRAFFIC = Kind('a list such as ["call inbound"]', _read_traffic)
DAY = Kind('a day such as "2026-10-01", or nothing', _read_day)
