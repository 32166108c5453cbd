"""Mails for tests of the archive: kept as they come in, and understood as by the service."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from service.archive.receive_mail import Envelope, keep_mail
from service.sources.events import SourceRule
from service.sources.mail.read import read_mail
from storage.rows import ContactRow, MessageRow, ObjectRow
from tests.conftest import NOW

COMPANY = frozenset({"@example.com"})
ENVELOPE = Envelope(
    mail_from="maija@example.fi",
    recipients=("arkisto@example.com",),
    peer="192.0.2.7",
    helo="mx.example.fi",
    protocol="lmtp",
    is_tls=True,
)


def letter(
    text="Hei!\r\n",
    *,
    n=1,
    sender="maija@example.fi",
    to="apu@example.com",
    subject="Lasku",
    minutes=0,
    **headers,
):
    """Return a mail: the ``n``-th, some ``minutes`` after ``NOW``."""
    at = (NOW + timedelta(minutes=minutes)).strftime("%a, %d %b %Y %H:%M:%S +0000")
    told = {
        "From": sender,
        "To": to,
        "Subject": subject,
        "Date": at,
        "Message-ID": f"<m{n}@example.fi>",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
    return f"{head}\r\n{text}".encode()


class Here:
    """Reads mails in this process, which starts faster than another."""

    @asynccontextmanager
    async def session(self):
        yield self

    async def read(self, raw, keep):
        read, parts = read_mail(await raw.read(0, raw.size_bytes))
        for part, data in zip(read.body.parts, parts, strict=True):

            async def pieces(data=data):
                yield data

            await keep(part, pieces())
        return read


class Post:
    """The source ``post`` of an archive."""

    def __init__(self, archive, reader=None, *, checks_mail=False):
        self.archive = archive
        self.store = archive.stores.store
        rule = SourceRule(company_addresses=COMPANY, checks_mail=checks_mail)
        mails = replace(
            archive.understanding.mails, rule_of=lambda _: rule, reader=reader or Here()
        )
        self.understanding = replace(archive.understanding, adapters={"post": {}}, mails=mails)

    async def keep(self, *raw, envelope=ENVELOPE, now=NOW):
        """Keep mails; return their deliveries."""
        kept = []
        for one in raw:

            async def chunks(data=one):
                yield data

            kept.append(
                await keep_mail(
                    self.archive.intake,
                    chunks(),
                    envelope,
                    source="post",
                    limit_bytes=1 << 24,
                    now=now,
                )
            )
        return [(one.row, one.delivery) for one in kept if not one.is_duplicate]

    async def deliver(self, *raw, envelope=ENVELOPE, now=NOW):
        """Keep and understand mails together; return what became of them."""
        kept = await self.keep(*raw, envelope=envelope, now=now)
        return await self.understanding.understand(kept, now=now)

    async def find(self, row=ContactRow, **where):
        return await self.store.find(row, where)

    async def messages(self, contact_id):
        return await self.store.find(
            MessageRow, {"contact_id": contact_id}, order=("sent_at", "id")
        )

    async def objects(self, kind):
        return await self.store.find(ObjectRow, {"kind": kind}, order=("made_at", "id"))
