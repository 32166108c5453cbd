"""Messages of Amazon SNS: checked with the certificate of its service, and subscriptions confirmed to listed topics.

Nothing is asked but SNS itself, for a certificate or a confirmation, by the rules of fetching (docs/decisions/0014).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Final

import aiohttp
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from yarl import URL

from service.domain.errors import InvalidInputError, NotSignedInError, UnavailableError
from service.domain.fetching import FetchError
from service.domain.urls import WebUrl
from service.sources.sns import SnsMessage, is_certificate, is_confirmation, parse_sns
from service.worker.fetching.connecting import Resolve, connector, resolve
from service.worker.fetching.rules import FetchRules, judge_url

MOST_CERTIFICATES: Final = 8
"""Kept at a time. SNS has one in each region, and another before it ends."""
_MAX_BYTES: Final = 64 * 1024
_MIN_KEY_BITS: Final = 2048
_HEADERS: Final = {"type": "message-type", "id": "message-id", "topic": "topic-arn"}
_HASHES: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {
    # SNS signs so unless its topic says 2. Who could make use of collisions would have to be SNS.
    "1": hashes.SHA1,
    "2": hashes.SHA256,
}
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class SnsDoor:
    """Whose messages of SNS are taken for a source, and where SNS is asked. It waits no longer than ``seconds``."""

    source: str
    topics: Collection[str]
    rules: FetchRules
    resolve: Resolve = resolve
    # SNS itself waits for 15 s.
    seconds: float = 8.0
    certificates: OrderedDict[str, x509.Certificate] = field(default_factory=OrderedDict)
    fetching: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def verify(
        self, headers: Mapping[str, str], body: bytes, *, now: datetime
    ) -> SnsMessage:
        """Return the message in ``body``, which SNS has signed and published to a listed topic.

        Raises:
            NotSignedInError: It is none, or of another topic, or its signature is not that of SNS.
            UnavailableError: The certificate cannot be had now.
        """
        try:
            message = parse_sns(body)
        except InvalidInputError as error:
            raise NotSignedInError(error.detail) from None
        told = {name: headers.get(f"x-amz-sns-{header}") for name, header in _HEADERS.items()}
        if told != {"type": message.type, "id": message.id, "topic": message.topic}:
            raise NotSignedInError("the headers are not those of the message")
        # Before anything is fetched for it.
        if message.topic not in self.topics or message.version not in _HASHES:
            raise NotSignedInError("no topic of this source, or no signature that is known")
        certificate = await self._certificate(self._judged(message.certificate_url))
        _require_signed(message, certificate, now)
        return message

    async def confirm(self, message: SnsMessage) -> None:
        """Confirm the subscription that a message that was verified asks to be confirmed. Again it changes nothing.

        Raises:
            NotSignedInError: It is asked elsewhere, or for something else.
            UnavailableError: SNS does not confirm it now.
        """
        url = self._judged(message.subscribe_url)
        if not is_confirmation(url.target, topic=message.topic):
            raise NotSignedInError("its address confirms no subscription to its topic")
        await self._get(url)
        _log.info(
            "intake.subscription_confirmed",
            extra={"source": self.source, "topic": message.topic},
        )

    def _judged(self, text: str) -> WebUrl:
        """Return a URL of SNS.

        Raises:
            NotSignedInError: It is of another host.
        """
        try:
            return judge_url(text, self.rules)
        except FetchError:
            raise NotSignedInError("its URLs are not those of SNS") from None

    async def _certificate(self, url: WebUrl) -> x509.Certificate:
        """Return the certificate at ``url``, which is fetched once."""
        if not is_certificate(url.target):
            raise NotSignedInError("its URLs are not those of SNS")
        async with self.fetching:
            known = self.certificates.get(url.address)
            if known is not None:
                self.certificates.move_to_end(url.address)
                return known
            certificate = _certificate_of(await self._get(url))
            self.certificates[url.address] = certificate
            if len(self.certificates) > MOST_CERTIFICATES:
                self.certificates.popitem(last=False)
            return certificate

    async def _get(self, url: WebUrl) -> bytes:
        """Return what SNS answers.

        Raises:
            UnavailableError: It does not answer 200 in time. The text has nothing of the URL nor of the answer.
        """
        session = aiohttp.ClientSession(
            connector=connector(self.rules, self.resolve),
            headers={"User-Agent": "taltio", "Accept-Encoding": "identity"},
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        asked = URL(url.address, encoded=True)
        try:
            async with (
                asyncio.timeout(self.seconds),
                session,
                session.get(asked, allow_redirects=False) as response,
            ):
                if response.status != HTTPStatus.OK:
                    raise UnavailableError(f"SNS answered {response.status}")
                return await _whole(response)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, FetchError) as error:
            told = str(error) if isinstance(error, FetchError) else type(error).__name__
            raise UnavailableError(f"SNS cannot be asked ({told})") from None


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise UnavailableError("SNS answered too much")
    return bytes(body)


def _certificate_of(pem: bytes) -> x509.Certificate:
    """Return the certificate that was fetched.

    Raises:
        UnavailableError: It is none with an RSA key of 2048 bits. Another may come.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise UnavailableError("SNS answered no certificate") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _MIN_KEY_BITS:
        raise UnavailableError("SNS answered no certificate of an RSA key of 2048 bits")
    return certificate


def _require_signed(message: SnsMessage, certificate: x509.Certificate, now: datetime) -> None:
    """Return if the key of ``certificate``, which has to be valid ``now``, signed ``message``.

    Raises:
        NotSignedInError: It did not.
    """
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not (
        certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    ):
        raise NotSignedInError("the certificate is not valid now")
    algorithm = _HASHES[message.version]()
    try:
        key.verify(message.signature, message.signed, padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        raise NotSignedInError("no signature matches") from None
