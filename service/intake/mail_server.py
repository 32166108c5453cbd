"""Mail by SMTP (RFC 5321) or LMTP (RFC 2033): taken in as it streams, acknowledged when it is durable.

Whoever delivers is trusted by its address alone, so that only mail servers of our own are let in. What they send is not
read here. Of a message that could not be kept the sender is told to come again (4xx), or why it never will be (5xx).
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Session
from aiosmtpd.smtp import Envelope as Begun

from service.archive.receive import Intake, Kept
from service.archive.receive_mail import Envelope, keep_mail
from service.domain.errors import ArchiveError, TooLargeError
from service.http.addresses import Network, parse_ip
from service.http.errors import OverloadedError
from service.http.limits import Room
from storage.errors import FullError, StorageError

MAX_RECIPIENTS: Final = 1_000
_PIECE_BYTES: Final = 64 * 1024
_COMMAND_SECONDS: Final = 60.0
_MESSAGE_SECONDS: Final = 600.0
_END: Final = b".\r\n"
_COMMANDS: Final = {"*": 2 * MAX_RECIPIENTS}

KEPT: Final = "250 2.0.0 Kept"
AGAIN: Final = "451 4.3.0 Not kept; send it again later"
FULL: Final = "452 4.3.1 No room; send it again later"
TOO_LARGE: Final = "552 5.3.4 The message is larger than is taken"
TOO_MANY: Final = "452 4.5.3 Too many recipients; send to the others in another transaction"
NOT_HERE: Final = "550 5.1.1 No archive address"
NOT_YOU: Final = b"554 5.7.1 Not from this address\r\n"
BUSY: Final = b"421 4.3.2 Too many connections; come again later\r\n"

_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRules:
    """What one source's listener takes, and from whom.

    Attributes:
        source: Whose deliveries these are.
        is_lmtp: LMTP, otherwise SMTP.
        peers: Networks of the servers that may deliver.
        recipients: Addresses, or ``@domain`` for all of it, in small letters; empty: any.
        max_bytes: A larger message is refused.
        connections: At once from all peers; more are told to come again.
        tls: The certificate for STARTTLS; None: it is not offered.
        needs_tls: Nothing is taken before STARTTLS.
    """

    source: str
    is_lmtp: bool
    peers: Sequence[Network]
    recipients: frozenset[str] = frozenset()
    max_bytes: int = 50 * 1024 * 1024
    connections: int = 32
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    needs_tls: bool = False


@dataclass(slots=True)
class MailDoor:
    """What the connections of one listener share. ``outcomes`` counts messages by what became of them."""

    rules: MailRules
    intake: Intake
    offer: Callable[[Kept], None]
    room: Room
    clock: Callable[[], datetime]
    outcomes: Counter[str] = field(default_factory=Counter)
    open: "set[_Connection]" = field(default_factory=set, repr=False)

    async def handle_RCPT(  # noqa: N802  # as the library calls it
        self,
        server: SMTP,  # noqa: ARG002  # as above
        session: Session,  # noqa: ARG002  # as above
        envelope: Begun,
        address: str,
        options: list[str],
    ) -> str:
        """Take a recipient that is one of ours."""
        domain = f"@{address.rpartition('@')[2]}".lower()
        known = self.rules.recipients
        if known and not {address.lower(), domain} & known:
            return NOT_HERE
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return TOO_MANY
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_exception(self, error: Exception) -> str:
        """Answer what no command answers; its text may repeat what was sent."""
        _log.error("mail.failed", extra={"code": type(error).__name__})
        return AGAIN

    async def keep(
        self, chunks: AsyncIterator[bytes], session: Session, begun: Begun, *, is_tls: bool
    ) -> str:
        """Keep a message; return the answer."""
        envelope = Envelope(
            mail_from=_plain("" if begun.mail_from in {None, "<>"} else begun.mail_from),
            recipients=tuple(_plain(one) for one in begun.rcpt_tos),
            peer=_host(session.peer),
            helo=_plain(session.host_name),
            protocol="lmtp" if self.rules.is_lmtp else "smtp",
            is_tls=is_tls,
        )
        limit = self.rules.max_bytes
        try:
            with self.room:
                kept = await keep_mail(
                    self.intake,
                    chunks,
                    envelope,
                    source=self.rules.source,
                    limit_bytes=limit,
                    now=self.clock(),
                )
        except TooLargeError:
            return self._told("too_large", TOO_LARGE)
        except FullError:
            return self._told("full", FULL)
        except (StorageError, ArchiveError, OverloadedError) as error:
            _log.warning("mail.not_kept", extra={"code": type(error).__name__})
            return self._told("not_kept", AGAIN)
        self.offer(kept)
        return self._told("duplicate" if kept.is_duplicate else "kept", KEPT)

    def _told(self, outcome: str, answer: str) -> str:
        self.outcomes[outcome] += 1
        return answer


@asynccontextmanager
async def listening_for_mail(
    door: MailDoor, host: str, port: int, *, shutdown_seconds: float
) -> AsyncIterator[tuple[str, int]]:
    """Take mail in inside the block; yield host and port that are listened on.

    At its end no new message is taken, and those that are coming have ``shutdown_seconds`` to come in.

    Raises:
        OSError: It cannot listen there.
    """
    # It would write addresses of people.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _connection(door, loop), host, port)
    try:
        name = listener.sockets[0].getsockname()
        yield name[0], name[1]
    finally:
        listener.close()
        for idle in [one for one in door.open if not one.is_taking]:
            idle.hang_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(shutdown_seconds):
                while door.open:  # noqa: ASYNC110  # once, at the end
                    await asyncio.sleep(0.05)
        for late in list(door.open):
            late.hang_up()


class _Connection(SMTP):
    """A connection. Messages stream through it; none is held in memory."""

    line_length_limit = _PIECE_BYTES

    def __init__(self, door: MailDoor, loop: asyncio.AbstractEventLoop) -> None:
        rules = door.rules
        super().__init__(
            door,
            data_size_limit=rules.max_bytes,
            enable_SMTPUTF8=True,
            hostname="taltio",
            ident="ready",
            tls_context=rules.tls,
            require_starttls=rules.needs_tls,
            timeout=_COMMAND_SECONDS,
            auth_exclude_mechanism=("LOGIN", "PLAIN"),
            command_call_limit=_COMMANDS,
            loop=loop,
        )
        self._door = door
        self.is_taking = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in, if it is one that may deliver and there is a place."""
        refusal = self._refusal(transport)
        super().connection_made(transport)
        if refusal and isinstance(transport, asyncio.WriteTransport):
            transport.write(refusal)
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Give the place back."""
        self._door.open.discard(self)
        super().connection_lost(error)

    def hang_up(self) -> None:
        """End the connection; what was not acknowledged, its sender sends again."""
        if self.transport is not None:
            self.transport.close()

    def _refusal(self, transport: asyncio.BaseTransport) -> bytes:
        if self in self._door.open:
            # The same connection, now by TLS.
            return b""
        peer = parse_ip(_host(transport.get_extra_info("peername")))
        if peer is None or not any(peer in network for network in self._door.rules.peers):
            self._door.outcomes["refused_peer"] += 1
            _log.warning("mail.peer_refused", extra={"source": self._door.rules.source})
            return NOT_YOU
        if len(self._door.open) >= self._door.rules.connections:
            return BUSY
        self._door.open.add(self)
        return b""

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802  # as the library calls it
        """Take a message. Its lines end with CRLF, and nothing else ends it (RFC 5321, section 2.3.8)."""
        if await self.check_helo_needed():
            return
        session, envelope = self.session, self.envelope
        if session is None or envelope is None or not envelope.rcpt_tos or arg:
            await self.push("503 5.5.1 RCPT first" if not arg else "501 5.5.4 DATA alone")
            return
        self._reset_timeout(_MESSAGE_SECONDS)
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        lines = _Lines(self._reader)
        self.is_taking = True
        try:
            is_tls = session.ssl is not None
            answer = await self._door.keep(lines.chunks(), session, envelope, is_tls=is_tls)
            # What was not wanted any more has to come all the same before an answer is heard.
            async for _ in lines.chunks():
                pass
        finally:
            self.is_taking = False
        count = len(envelope.rcpt_tos) if self._door.rules.is_lmtp else 1
        self.envelope = self._create_envelope()
        for _ in range(count):
            await self.push(answer)


class _LmtpConnection(_Connection, LMTP):
    """The same by LMTP, which greets otherwise and answers for each recipient."""


def _connection(door: MailDoor, loop: asyncio.AbstractEventLoop) -> _Connection:
    return (_LmtpConnection if door.rules.is_lmtp else _Connection)(door, loop)


class _Lines:
    """The message on a connection, until its end."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._is_over = False
        self._is_at_start = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what is left, some 64 KiB at a time, with dots taken off that were stuffed (RFC 5321, 4.5.2)."""
        gathered = bytearray()
        while not self._is_over:
            piece = await self._piece()
            if self._is_at_start and piece == _END:
                self._is_over = True
                break
            gathered += piece[1:] if self._is_at_start and piece[:1] == b"." else piece
            self._is_at_start = piece.endswith(b"\r\n")
            if len(gathered) >= _PIECE_BYTES:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    async def _piece(self) -> bytes:
        """Return the next line, or a piece of one that is very long."""
        try:
            return await self._reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError as error:
            return await self._reader.readexactly(error.consumed)


def _host(peer: Any) -> str:  # noqa: ANN401  # what a socket says
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""


def _plain(text: str | None) -> str:
    """Return what was said as text: bytes that are none are shown as they would be escaped."""
    return (text or "").encode(errors="surrogateescape").decode(errors="backslashreplace")
