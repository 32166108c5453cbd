"""The parent's end of a conversation with a child that reads mails: frames in, answers out, nothing believed."""

import asyncio

from service.archive.mail_port import RawMail
from service.worker.children import Child
from service.worker.mail.pipe import MAX_PAYLOAD_BYTES
from service.worker.media import pipe as words


class GoneError(Exception):
    """The child has closed its end of the socket."""


class MisbehavedError(Exception):
    """The child said what a child of ours does not say."""


class Wire:
    """One conversation about one mail, the bytes of which are given out once."""

    def __init__(self, child: Child, raw: RawMail) -> None:
        self._child = child
        self._raw = raw
        self._asked_bytes = 0

    async def hear(self) -> tuple[bytes, bytes]:
        """Return what the child says next: what it is, and what comes with it."""
        try:
            head = await self._child.reader.readexactly(words.FRAME.size)
            kind, length = words.FRAME.unpack(head)
            if length > MAX_PAYLOAD_BYTES:
                raise MisbehavedError
            return kind, await self._child.reader.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError):
            raise GoneError from None

    async def say(self, answer: bytes) -> None:
        """Give the child what it waits for."""
        try:
            self._child.writer.write(words.ANSWER.pack(len(answer)) + answer)
            await self._child.writer.drain()
        except ConnectionError:
            raise GoneError from None

    async def give(self, payload: bytes) -> None:
        """Give the child the bytes of the mail that it asks for."""
        if len(payload) != words.REQUEST.size:
            raise MisbehavedError
        offset, length = words.REQUEST.unpack(payload)
        self._asked_bytes += length
        is_within = offset + length <= self._raw.size_bytes >= self._asked_bytes
        if length > words.MAX_READ_BYTES or not is_within:
            raise MisbehavedError
        await self.say(await self._raw.read(offset, length))
