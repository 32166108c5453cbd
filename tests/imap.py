"""A mail server on loopback that speaks as much IMAP as the archive does, and lies when it is told to."""

import asyncio
import re
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

USER, PASSWORD = "arkisto@example.fi", 'säkerhet "\\ ei kerrota'
DATE = "22-Nov-2026 11:54:07 +0200"


@dataclass
class Imap:
    """A mailbox, and what was asked about it.

    ``lies`` answers a command otherwise, by how it begins; None ends the connection.
    """

    mails: dict[int, bytes] = field(default_factory=dict)
    uid_validity: int = 7
    uid_next: int = 1
    mailbox: bytes = b'"INBOX"'
    capabilities: str = "IMAP4rev1 AUTH=PLAIN IDLE"
    greeting: str = "* OK ready"
    password: str = PASSWORD
    dates: dict[int, str] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    lies: dict[str, Callable[[str, str], bytes | None]] = field(default_factory=dict)
    port: int = 0
    _news: list[asyncio.Event] = field(default_factory=list)

    def bring(self, *mails: bytes) -> None:
        """Let mails come into the mailbox, and those hear of it that are idle."""
        for mail in mails:
            self.mails[self.uid_next] = mail
            self.uid_next += 1
        for one in self._news:
            one.set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        news = asyncio.Event()
        self._news.append(news)
        try:
            writer.write(self.greeting.encode() + b"\r\n")
            while line := await reader.readline():
                tag, _, command = line.decode().strip().partition(" ")
                self.asked.append(command)
                lie = next(
                    (self.lies[name] for name in self.lies if command.startswith(name)), None
                )
                told = lie(tag, command) if lie else None
                if lie and told is None:
                    return
                if told is None:
                    told = await self.answer(tag, command, reader, writer, news)
                writer.write(told)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        finally:
            self._news.remove(news)
            writer.close()

    async def answer(self, tag, command, reader, writer, news) -> bytes:
        name, _, rest = command.partition(" ")
        if name in {"AUTHENTICATE", "LOGIN"}:
            is_ok = await self.admits(name, rest, reader, writer)
        elif name == "EXAMINE":
            is_ok = rest.encode() == self.mailbox
            if is_ok:
                writer.write(self.opened().encode())
        elif name == "IDLE":
            is_ok = await self.idle(reader, writer, news)
        else:
            told = self.told(name, rest)
            is_ok = told is not None
            writer.write(told or b"")
        return f"{tag} {'OK done' if is_ok else 'NO'}\r\n".encode()

    async def admits(self, name, rest, reader, writer) -> bool:
        if name == "LOGIN":
            quoted = self.password.replace("\\", "\\\\").replace('"', '\\"')
            return rest == f'"{USER}" "{quoted}"'
        writer.write(b"+ \r\n")
        return b64decode(await reader.readline()).decode() == f"\0{USER}\0{self.password}"

    def opened(self) -> str:
        return (
            f"* {len(self.mails)} EXISTS\r\n* OK [UIDVALIDITY {self.uid_validity}] valid {{5}}\r\n"
            f"* OK [UIDNEXT {self.uid_next}] next\r\n"
        )

    async def idle(self, reader, writer, news) -> bool:
        writer.write(b"+ idling\r\n")
        ended = asyncio.create_task(reader.readline())
        told = asyncio.create_task(news.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            news.clear()
            writer.write(f"* {len(self.mails)} EXISTS\r\n".encode())
        told.cancel()
        return await ended == b"DONE\r\n"

    def told(self, name, rest) -> bytes | None:
        if name == "CAPABILITY":
            return f"* CAPABILITY {self.capabilities}\r\n".encode()
        if found := re.fullmatch(r"SEARCH UID (\d+):\*", rest):
            uids = [uid for uid in self.mails if uid >= int(found[1])] or list(self.mails)[-1:]
            return " ".join(["* SEARCH", *map(str, uids)]).encode() + b"\r\n"
        if found := re.fullmatch(r"FETCH ([\d,]+) \(UID RFC822.SIZE INTERNALDATE\)", rest):
            asked = map(int, found[1].split(","))
            return b"".join(self.described(uid) for uid in asked if uid in self.mails)
        if found := re.fullmatch(r"FETCH (\d+) \(UID BODY.PEEK\[\]\)", rest):
            uid = int(found[1])
            return brought(uid, self.mails[uid]) if uid in self.mails else b""
        return b"" if name == "NOOP" else None

    def described(self, uid: int) -> bytes:
        size = self.sizes.get(uid, len(self.mails[uid]))
        date = self.dates.get(uid, DATE)
        number = list(self.mails).index(uid) + 1
        return f'* {number} FETCH (FLAGS (\\Seen UID) UID {uid} INTERNALDATE "{date}" RFC822.SIZE {size})\r\n'.encode()


def brought(uid: int, mail: bytes) -> bytes:
    """Return the answer that brings a mail, its UID behind it, as some servers do."""
    return b"* 1 FETCH (BODY[] {%d}\r\n%s UID %d)\r\n" % (len(mail), mail, uid)


@asynccontextmanager
async def serving(imap: Imap, tls: ssl.SSLContext | None) -> AsyncIterator[Imap]:
    server = await asyncio.start_server(imap.talk, "127.0.0.1", 0, ssl=tls)
    imap.port = server.sockets[0].getsockname()[1]
    try:
        yield imap
    finally:
        server.close()


async def until(is_so: Callable[[], object]) -> None:
    """Return when something is so; a test that waits for too long has failed."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.01)
