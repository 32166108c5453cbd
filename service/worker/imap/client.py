"""A connection to a mailbox over IMAP (RFC 9051; RFC 3501), by TLS from its first byte (RFC 8314).

It reads and changes nothing, not even what is marked as seen. Mails stream; what else the server says is bounded. Its
words are repeated nowhere, for they may name people.
"""

import asyncio
import ssl
from array import array
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from service.domain.errors import UnavailableError
from service.worker.imap import words
from service.worker.imap.words import MAX_UID, BodyPart, Described

_CONNECT_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 120.0
_PIECE_BYTES: Final = 64 * 1024
_MOST_BYTES: Final = 1024**2
"""Of one answer, mails apart."""
_MOST_UIDS_BYTES: Final = 16 * 1024**2
"""Of the answer to a search: well over a million UIDs."""
_MOST_LINES: Final = 10_000


class RefusedError(UnavailableError):
    """The server answered that it does not do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A mailbox as it was opened. UIDs mean the same mails for as long as ``uid_validity`` is the same.

    ``uid_next``: the next mail gets it, or a greater one; 0 where the server does not tell.
    """

    uid_validity: int
    uid_next: int


@asynccontextmanager
async def connected(
    host: str, port: int, *, tls: ssl.SSLContext, answer_seconds: float = ANSWER_SECONDS
) -> AsyncIterator["Connection"]:
    """Be connected inside the block; the next word of every answer has to come within ``answer_seconds``.

    Raises:
        UnavailableError: It is not reached, is not who it should be, or does not speak IMAP.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=tls, limit=_PIECE_BYTES
            )
    except ssl.SSLCertVerificationError as error:
        reason = f"the certificate of the mail server is not trusted ({error.verify_message})"
        raise UnavailableError(reason) from error
    except OSError as error:
        raise UnavailableError(
            f"the mail server is not reached ({type(error).__name__})"
        ) from error
    try:
        connection = Connection(reader, writer, answer_seconds)
        await connection.greet()
        yield connection
    finally:
        # Nothing is under way that it would have to be told of.
        writer.transport.abort()


class Connection:
    """One command at a time. After an error it cannot be used any more, a RefusedError apart."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer_seconds: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._patience: float | None = answer_seconds
        self._count = 0
        self._can_idle = False
        peer = writer.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        """The address of the server."""

    async def greet(self) -> None:
        """Hear who answers.

        Raises:
            UnavailableError: It is no mail server that takes users.
        """
        if not (await self._line())[:5].upper().startswith(b"* OK"):
            raise UnavailableError("what answers is no mail server that takes users")

    async def sign_in(self, user: str, password: str) -> None:
        """Sign in.

        Raises:
            UnavailableError: User and password are refused, or no way of the server's is known.
            InvalidInputError: User or password cannot be said to this server.
        """
        able = await self._capabilities()
        try:
            if b"AUTH=PLAIN" in able:
                tag = await self._begin(b"AUTHENTICATE PLAIN")
                await self._continue(tag)
                # RFC 4616.
                await self._send(b64encode(f"\0{user}\0{password}".encode()))
                await self._end(tag)
            elif b"LOGINDISABLED" not in able:
                await self._ask(b"LOGIN %s %s" % (words.quoted(user), words.quoted(password)))
            else:
                raise UnavailableError("the mail server takes no passwords")
        except RefusedError:
            raise UnavailableError("the mail server refuses imap_user and password") from None
        self._can_idle = b"IDLE" in await self._capabilities()

    async def examine(self, mailbox: str) -> Opened:
        """Open a mailbox so that nothing in it can be changed.

        Raises:
            UnavailableError: There is no such mailbox, or its mails have no UIDs.
        """
        try:
            lines = await self._ask(b"EXAMINE " + words.encode_mailbox(mailbox))
        except RefusedError:
            raise UnavailableError("the mail server opens no mailbox of this name") from None
        codes = dict(filter(None, map(words.parse_code, lines)))
        if not codes.get("UIDVALIDITY"):
            raise UnavailableError("the mailbox has no UIDVALIDITY")
        return Opened(codes["UIDVALIDITY"], codes.get("UIDNEXT", 0))

    async def find_uids(self, first: int) -> Sequence[int]:
        """Return the UIDs from ``first`` on, in order."""
        if first > MAX_UID:
            return ()
        lines = await self._ask(b"UID SEARCH UID %d:*" % first, _MOST_UIDS_BYTES)
        if not any(map(words.is_search, lines)):
            raise UnavailableError("the mail server did not say which mails there are")
        return await asyncio.to_thread(_sorted_uids, lines, first)

    async def describe(self, uids: Sequence[int]) -> Sequence[Described]:
        """Return what the server tells of these mails, in order; of those that are gone nothing."""
        asked = b",".join(b"%d" % uid for uid in uids)
        lines = await self._ask(b"UID FETCH %s (UID RFC822.SIZE INTERNALDATE)" % asked)
        told = {one.uid: one for one in map(words.parse_described, lines) if one is not None}
        return [told[uid] for uid in uids if uid in told]

    async def find_mail(self, uid: int) -> AsyncIterator[bytes] | None:
        """Return the bytes of a mail as they come; None where it is gone.

        They have to be read to their end before anything else is asked for.

        Raises:
            RefusedError: The server does not hand it out.
        """
        tag = await self._begin(b"UID FETCH %d (UID BODY.PEEK[])" % uid)
        while True:
            line = await self._line()
            if self._is_end(line, tag):
                return None
            body = words.parse_body(line)
            if body is None:
                # What is not understood is not taken for nothing.
                if b"BODY[]" in words.parse_attributes(await self._rest_of(line)):
                    raise UnavailableError("the mail server hands out mails in another form")
            elif body.size_bytes is not None or body.text is not None:
                return self._brought(body, line, uid, tag)

    async def wait_for_news(self, seconds: float) -> None:
        """Return when a mail may have come, at the latest after ``seconds`` (RFC 2177)."""
        if not self._can_idle:
            await asyncio.sleep(seconds)
            await self._ask(b"NOOP")
            return
        tag = await self._begin(b"IDLE")
        await self._continue(tag)
        patience, self._patience = self._patience, None
        try:
            async with asyncio.timeout(seconds):
                while not (line := await self._line()).upper().endswith(b" EXISTS"):
                    self._require_more(line, tag)
        except TimeoutError:
            pass
        self._patience = patience
        await self._send(b"DONE")
        await self._end(tag)

    # -- a mail

    async def _brought(
        self, body: BodyPart, line: bytes, uid: int, tag: bytes
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of a mail; when they are over, all of the answer was as it should be."""
        if body.text is not None:
            yield body.text
            told = line
        else:
            left = body.size_bytes or 0
            while left:
                piece = await self._got(self._reader.read(min(left, _PIECE_BYTES)))
                if not piece:
                    raise UnavailableError("the mail server ended the connection")
                left -= len(piece)
                yield piece
            before, _, _ = line.rpartition(b"{")
            told = before + b'""' + await self._rest_of(await self._line())
        if words.parse_attributes(told).get(b"UID", b"") != b"%d" % uid:
            raise UnavailableError("the mail server sent another mail than it was asked for")
        await self._end(tag)

    # -- commands and answers

    async def _capabilities(self) -> frozenset[bytes]:
        lines = await self._ask(b"CAPABILITY")
        return frozenset(one for line in lines for one in words.parse_capabilities(line))

    async def _ask(self, command: bytes, most_bytes: int = _MOST_BYTES) -> Sequence[bytes]:
        """Return what is answered to ``command``.

        Raises:
            RefusedError: It is refused.
        """
        return await self._end(await self._begin(command), most_bytes)

    async def _begin(self, command: bytes) -> bytes:
        self._count += 1
        tag = b"t%d" % self._count
        await self._send(tag + b" " + command)
        return tag

    async def _send(self, line: bytes) -> None:
        self._writer.write(line + b"\r\n")
        await self._got(_drained(self._writer))

    async def _continue(self, tag: bytes) -> None:
        """Return when the server wants to hear more."""
        while not (line := await self._line()).startswith(b"+"):
            if self._is_end(line, tag):
                raise UnavailableError("the mail server answers before it was asked")

    async def _end(self, tag: bytes, most_bytes: int = _MOST_BYTES) -> Sequence[bytes]:
        """Return what is answered until the end of the command that ``tag`` names."""
        lines, size = [], 0
        while not self._is_end(line := await self._line(most_bytes), tag):
            lines.append(await self._rest_of(line))
            size += len(lines[-1])
            if size > most_bytes or len(lines) > _MOST_LINES:
                raise UnavailableError("the mail server says more than is listened to")
        return lines

    def _is_end(self, line: bytes, tag: bytes) -> bool:
        """Tell whether ``line`` ends the command."""
        said, _, rest = line.partition(b" ")
        if said == b"*" and rest[:3].upper() == b"BYE":
            raise UnavailableError("the mail server ended the connection")
        if said != tag:
            return False
        if rest[:2].upper() != b"OK":
            raise RefusedError("the mail server refuses what it was asked for")
        return True

    def _require_more(self, line: bytes, tag: bytes) -> None:
        if self._is_end(line, tag):
            raise UnavailableError("the mail server stopped telling of news")

    async def _rest_of(self, line: bytes) -> bytes:
        """Return a line whole, what it has of literals left out: nothing of what we ask for comes as one but a mail."""
        while (found := words.parse_literal(line)) is not None:
            before, size = found
            if size > _PIECE_BYTES:
                raise UnavailableError("the mail server says more than is listened to")
            await self._got(self._reader.readexactly(size))
            line = before + b'""' + await self._line()
            if len(line) > _MOST_BYTES:
                raise UnavailableError("the mail server says more than is listened to")
        return line

    async def _line(self, most_bytes: int = _MOST_BYTES) -> bytes:
        """Return the next line without its end."""
        gathered = bytearray()
        while not gathered.endswith(b"\r\n"):
            try:
                gathered += await self._got(self._reader.readuntil(b"\r\n"))
            except asyncio.LimitOverrunError as error:
                gathered += await self._got(self._reader.readexactly(error.consumed))
            if len(gathered) > most_bytes:
                raise UnavailableError("the mail server says more than is listened to")
        return bytes(gathered[:-2])

    async def _got(self, reading: Awaitable[bytes]) -> bytes:
        """Return what comes, unless it takes too long."""
        try:
            async with asyncio.timeout(self._patience):
                return await reading
        except (EOFError, OSError) as error:
            became = "does not answer" if isinstance(error, TimeoutError) else "is gone"
            raise UnavailableError(f"the mail server {became}") from error


def _sorted_uids(lines: Sequence[bytes], first: int) -> Sequence[int]:
    """Return the UIDs from ``first`` on that ``lines`` name, each once."""
    # The last mail is named also where it lies before the first one (RFC 9051, section 6.4.9).
    named = (uid for line in lines for uid in words.find_uids(line))
    found = array("L", (uid for uid in named if first <= uid <= MAX_UID))
    if any(one >= other for one, other in pairwise(found)):
        return sorted(set(found))
    return found


async def _drained(writer: asyncio.StreamWriter) -> bytes:
    await writer.drain()
    return b""
