"""Builds what reads the mailboxes of sources."""

import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, time
from pathlib import Path

from service.archive.gaps import Gaps
from service.archive.receive import Kept
from service.config import Config, SourceConfig
from service.config.roles import ProcessRole
from service.config.secret_files import read_secret, trusting
from service.databases import Alone
from service.domain.errors import InvalidInputError
from service.wiring import Archive
from service.worker.imap.mailbox import Mailbox, MailboxRules
from service.worker.outside import Asking


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """What reads each mailbox, and how many mails became what."""

    asking: tuple[Asking, ...] = ()
    outcomes: Counter[str] = field(default_factory=Counter)


def mailboxes_of(
    archive: Archive,
    role: ProcessRole,
    *,
    clock: Callable[[], datetime],
    offer: Callable[[Kept], None],
) -> Mailboxes:
    """Return what reads the mailboxes that are configured: of several workers, the one whose turn it is does.

    ``offer`` is given what is kept, where this process understands what it takes in; others look for it.

    Raises:
        InvalidInputError: A file that the configuration names cannot be used; the detail names it, and nothing in it.
    """
    if not role.works:
        return Mailboxes()
    outcomes = Counter[str]()
    asking = []
    for source in archive.config.sources:
        for number, rules in enumerate(_rules_of(archive.config, source), start=1):
            mailbox = Mailbox(
                rules=rules,
                intake=archive.intake,
                gaps=Gaps(archive.stores.store),
                clock=clock,
                offer=offer if role.takes_in else None,
                turn=Alone() if role is ProcessRole.ALL else archive.stores.working,
                outcomes=outcomes,
            )
            # By number: the name of a mailbox may be that of a person.
            asking.append(Asking(f"mailbox {source.name} {number}", mailbox.read))
            mailbox.on_read = asking[-1].note_answer
    return Mailboxes(tuple(asking), outcomes)


def _rules_of(config: Config, source: SourceConfig) -> Iterator[MailboxRules]:
    server, file = source.imap_server, source.imap_password_file
    if server is None or file is None:
        return
    password, tls = _password(file), _tls(source)
    for name in source.imap_mailboxes:
        yield MailboxRules(
            source=source.name,
            host=server.host,
            port=server.port,
            user=source.imap_user,
            password=password,
            mailbox=name,
            since=_since(config, source),
            max_bytes=source.mail_max_bytes,
            tls=tls,
        )


def _password(file: Path) -> str:
    password = read_secret("imap_password_file", file).rstrip("\r\n")
    if not password or not password.isprintable():
        raise InvalidInputError(
            f"[[sources]] imap_password_file: {file} is not one line with a password"
        )
    return password


def _tls(source: SourceConfig) -> ssl.SSLContext:
    authority = source.imap_certificate_authority
    if authority is None:
        return ssl.create_default_context()
    return trusting("imap_certificate_authority", authority)


def _since(config: Config, source: SourceConfig) -> datetime | None:
    if source.imap_since is None:
        return None
    zone = source.timezone or config.archive.timezone
    return datetime.combine(source.imap_since, time(), zone)
