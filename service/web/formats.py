"""How times, durations, numbers and telephone numbers are written for a reader."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import phonenumbers
from babel.core import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_decimal

_DAY: Final = {"fi": "d.M.y", "sv": "d.M.y", "en": "d MMM y"}
_CLOCK: Final = {"fi": "H.mm", "sv": "H.mm", "en": "HH:mm"}
_SECOND: Final = {"fi": "H.mm.ss", "sv": "H.mm.ss", "en": "HH:mm:ss"}
_MOMENT: Final = {"fi": "{day} klo {clock}", "sv": "{day} kl. {clock}", "en": "{day}, {clock}"}
_MONTH: Final = {"fi": "LLLL y", "sv": "LLLL y", "en": "LLLL y"}
_MEGABYTE: Final = {"fi": "Mt", "sv": "MB", "en": "MB"}
_KILOBYTE: Final = {"fi": "kt", "sv": "kB", "en": "kB"}
_POSITION: Final = {"fi": ".", "sv": ".", "en": ":"}
# Six digits or more in a row are hard to read aloud; the last four stay together.
_LONG_GROUP = re.compile(r"\b(\d{2,})(\d{4})\b")
_THOUSAND = 1000
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Formats:
    """Writes values the way readers of ``language`` do, with times in ``timezone``."""

    language: str
    timezone: ZoneInfo

    def day(self, at: datetime) -> str:
        """Return the date: ``3.9.2026``."""
        return format_date(self._local(at).date(), _DAY[self.language], self.language)

    def date(self, on: date) -> str:
        """Return a day that is in no time zone: ``3.9.2026``."""
        return format_date(on, _DAY[self.language], self.language)

    def month(self, at: datetime) -> str:
        """Return month and year: ``syyskuu 2026``."""
        return format_date(self._local(at).date(), _MONTH[self.language], self.language)

    def clock(self, at: datetime) -> str:
        """Return the time of day, with its offset in the hour that happens twice: ``3.30 (UTC+3)``."""
        local = self._local(at)
        text = format_time(local, _CLOCK[self.language], locale=self.language)
        return f"{text} ({_offset(local)})" if _is_ambiguous(local) else text

    def second(self, at: datetime) -> str:
        """Return the time of day to the second, with its offset as ``clock`` does: ``14.02.10``."""
        local = self._local(at)
        text = format_time(local, _SECOND[self.language], locale=self.language)
        return f"{text} ({_offset(local)})" if _is_ambiguous(local) else text

    def moment(self, at: datetime) -> str:
        """Return date and time: ``3.9.2026 klo 14.02``."""
        return _MOMENT[self.language].format(day=self.day(at), clock=self.clock(at))

    def span(self, start: datetime, end: datetime | None) -> str:
        """Return when something began and ended, without repeating the date."""
        if end is None or self.moment(end) == self.moment(start):
            return self.moment(start)
        if self.day(start) == self.day(end):
            return f"{self.moment(start)}\N{EN DASH}{self.clock(end)}"
        return f"{self.moment(start)} \N{EN DASH} {self.moment(end)}"

    def duration(self, duration: timedelta) -> str:
        """Return a length of time, rounded to seconds: ``9 min 12 s``."""
        hours, rest = divmod(round(duration.total_seconds()), 3600)
        minutes, seconds = divmod(rest, 60)
        parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
        shown = [f"{number}\N{NO-BREAK SPACE}{unit}" for number, unit in parts if number]
        return " ".join(shown) or "0\N{NO-BREAK SPACE}s"

    def position(self, duration: timedelta) -> str:
        """Return a position in a recording: ``9.12``, ``1.02.03``."""
        hours, rest = divmod(int(duration.total_seconds()), 3600)
        minutes, seconds = divmod(rest, 60)
        separator = _POSITION[self.language]
        if hours:
            return separator.join((str(hours), f"{minutes:02}", f"{seconds:02}"))
        return f"{minutes}{separator}{seconds:02}"

    @property
    def separator(self) -> str:
        """What stands between minutes and seconds of a position."""
        return _POSITION[self.language]

    def number(self, number: float) -> str:
        """Return a number with the language's decimal mark and grouping."""
        return format_decimal(number, locale=Locale(self.language))

    def size(self, size_bytes: int) -> str:
        """Return a size in decimal units: ``1,2 Mt``."""
        if size_bytes < _MILLION:
            kilobytes = max(1, round(size_bytes / _THOUSAND))
            return f"{self.number(kilobytes)}\N{NO-BREAK SPACE}{_KILOBYTE[self.language]}"
        megabytes = round(size_bytes / _MILLION, 1)
        return f"{self.number(megabytes)}\N{NO-BREAK SPACE}{_MEGABYTE[self.language]}"

    def phone(self, e164: str) -> str:
        """Return a number in international form, grouped: ``+358 40 123 4567``; anything else as it is."""
        try:
            number = phonenumbers.parse(e164, None)
        except phonenumbers.NumberParseException:
            return e164
        international = phonenumbers.PhoneNumberFormat.INTERNATIONAL
        text = phonenumbers.format_number(number, international)
        return _LONG_GROUP.sub(lambda group: f"{group[1]}\N{NO-BREAK SPACE}{group[2]}", text)

    def _local(self, at: datetime) -> datetime:
        return at.astimezone(self.timezone)


def _is_ambiguous(local: datetime) -> bool:
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def _offset(local: datetime) -> str:
    minutes = (local.utcoffset() or timedelta(0)) // timedelta(minutes=1)
    sign = "+" if minutes >= 0 else "-"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{sign}{hours}" + (f":{rest:02}" if rest else "")
