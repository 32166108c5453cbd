"""What the pages show of a mail beside its text."""

from collections.abc import Iterable
from typing import Final

from service.archive.mail_records import MailPart, SealedMail
from service.domain.errors import InvalidInputError
from service.domain.identifiers import EmailAddress
from service.domain.masking import mask_text
from service.domain.times import parse_rfc3339
from service.sources.mail.facts import Address, Flag
from service.sources.mail.verdicts import Verdicts
from service.web.mail_verdicts import WAITING, keys_of, verdict_views
from service.web.views import AttachmentView, MailView

_WRITTEN: Final = frozenset({"from", "reply_to", "to", "cc"})
"""Headers in which people write names as they like."""
_SHOWN: Final = 20
"""So many addresses of a header are written out."""


def mail_view(mail: SealedMail, verdicts: Verdicts | None) -> MailView:
    """Return what is shown of ``mail``; headers that it does not have are left out. No ``verdicts``: not yet."""
    waits = Flag.SIGNED in mail.flags and verdicts is None
    claimed = [("claimed", verdicts.claimed)] if verdicts and verdicts.claimed else []
    return MailView(
        subject=mask_text(mail.subject).text,
        headers=(
            *(
                (fact, mask_text(words).text if fact in _WRITTEN else words)
                for fact, words in _headers(mail)
                if words
            ),
            *claimed,
        ),
        received_at=mail.received_at,
        flags=tuple(flag.value for flag in mail.flags if flag is not Flag.SIGNED),
        attachments=tuple(
            AttachmentView(
                number=number,
                name=mask_text(part.name).text,
                content_type=part.content_type,
                size_bytes=part.size_bytes,
                is_risky=part.is_risky,
            )
            for number, part in enumerate(mail.attachments, 1)
        ),
        has_html=mail.find(MailPart.HTML) is not None,
        verdicts=verdict_views(verdicts) if verdicts else WAITING if waits else (),
        keys=keys_of(verdicts) if verdicts else (),
        checked_at=parse_rfc3339(verdicts.checked_at)
        if verdicts and verdicts.checked_at
        else None,
    )


def _headers(mail: SealedMail) -> Iterable[tuple[str, str]]:
    envelope = mail.envelope
    yield "from", written(mail.senders)
    yield "reply_to", written(mail.reply_to)
    yield "to", written(mail.to)
    yield "cc", written(mail.cc)
    yield "journaled", _listed(mail.journaled)
    yield "date", mail.date
    yield "message_id", mail.message_id and f"<{mail.message_id}>"
    yield (
        "mail_from",
        envelope.mail_from or ("<>" if envelope.protocol in {"lmtp", "smtp"} else ""),
    )
    yield "recipients", _listed(envelope.recipients)
    yield "peer", " ".join(one for one in (envelope.helo, envelope.peer) if one)
    yield "mailbox", envelope.mailbox


def written(addresses: Iterable[Address]) -> str:
    """Return addresses as a person reads them: the domain as the network knows it, where letters could deceive."""
    return _listed(tuple(_one(one) for one in addresses))


def _one(told: Address) -> str:
    address = told.address
    if not address.isascii():
        try:
            # In ASCII it is seen that a letter is not the one that it looks like (RFC 5890, section 2.3.2.1).
            canonical = EmailAddress.parse(address).address
        except InvalidInputError:
            canonical = ""
        address = f"{address} ({canonical})" if canonical and canonical != address else address
    return f"{told.name} <{address}>" if told.name else address


def _listed(words: tuple[str, ...]) -> str:
    rest = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" … +{rest}" if rest > 0 else "")
