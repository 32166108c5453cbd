"""Settings of mail: which addresses are taken, which mailboxes are read from which day on, which topics it comes by."""

import re
from datetime import date
from typing import Final

from service.config.problems import ValueRefusedError
from service.config.values import Context, Kind, require_text, require_texts
from service.sources.sns import TOPIC

MAX_MAILBOXES: Final = 16
"""Of one account: each is a connection of its own."""

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_RECIPIENT: Final = re.compile(r"[^@\s]{0,64}@[A-Za-z0-9.-]{1,253}")


def _read_recipients(value: object, _: Context) -> tuple[str, ...]:
    recipients = require_texts(value)
    for one in recipients:
        if not _RECIPIENT.fullmatch(one):
            raise ValueRefusedError(
                f"expected addresses such as archive@example.fi, or @example.fi for a domain, got {one!r}"
            )
    return tuple(one.lower() for one in recipients)


def _read_mailboxes(value: object, _: Context) -> tuple[str, ...]:
    names = require_texts(value)
    for one in names:
        if not one:
            raise ValueRefusedError(f"expected names such as INBOX, got {one!r}")
    if len(set(names)) < len(names):
        raise ValueRefusedError("a mailbox is named twice")
    if len(names) > MAX_MAILBOXES:
        raise ValueRefusedError(f"more than {MAX_MAILBOXES} mailboxes")
    return tuple(names)


def _read_topics(value: object, _: Context) -> tuple[str, ...]:
    topics = require_texts(value)
    for one in topics:
        if not TOPIC.fullmatch(one):
            raise ValueRefusedError(
                f"expected topics such as arn:aws:sns:eu-north-1:123456789012:mails, got {one!r}"
            )
    return tuple(topics)


def _read_day(value: object, _: Context) -> date | None:
    plain = require_text(value)
    if not plain:
        return None
    try:
        # Python alone would also take weeks.
        return date.fromisoformat(plain if _DAY.fullmatch(plain) else "")
    except ValueError:
        raise ValueRefusedError(f"expected a day such as 2026-11-22, got {plain!r}") from None


MAILBOXES = Kind("a list of names of mailboxes", _read_mailboxes)
DAY = Kind("a day as YYYY-MM-DD, or nothing", _read_day)
RECIPIENTS = Kind("a list of addresses, or of @domains", _read_recipients)
TOPICS = Kind("a list of topics of SNS", _read_topics)
