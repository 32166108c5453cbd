"""What the listeners find in the application."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from aiohttp import web

from service.archive.receive import Intake, Kept
from service.http.frame import RecognisesTokens
from service.intake.body_signatures import BodyKey, Scheme
from service.intake.post_signatures import PostKey
from service.intake.refusals import Refusals
from service.intake.shared_secret import SharedSecret
from service.intake.sns import SnsDoor
from service.intake.standard_webhooks import WebhookSecret
from service.intake.twilio_signature import TwilioSecret
from service.sources.kinds import Sender
from service.sources.posted_mail import Unpack


@dataclass(frozen=True, slots=True)
class Listener:
    """A configured source as intake knows it, with the secrets that its kind of sender has.

    ``scheme`` says where a signature by one of ``body_keys`` stands, ``verify_token`` is what its platform sends when
    it is told the address. ``unpack`` finds the mails that it posts, which are no larger than ``max_mail_bytes``;
    ``post_key`` is what such posts have to be signed with, beside the secret; ``sns`` checks those that come by a topic
    of Amazon SNS. ``max_vcon_bytes`` is how large a vCon
    of it may be; 0 where it sends something else. ``public_url`` is where the archive is known outside, without a
    slash at its end.
    """

    name: str
    sender: Sender
    secrets: tuple[WebhookSecret, ...] = field(default=(), repr=False)
    shared: tuple[SharedSecret, ...] = field(default=(), repr=False)
    twilio: tuple[TwilioSecret, ...] = field(default=(), repr=False)
    body_keys: tuple[BodyKey, ...] = field(default=(), repr=False)
    scheme: Scheme | None = None
    verify_token: SharedSecret | None = field(default=None, repr=False)
    post_key: PostKey | None = field(default=None, repr=False)
    sns: SnsDoor | None = None
    unpack: Unpack | None = None
    max_mail_bytes: int = 0
    max_vcon_bytes: int = 0
    public_url: str = ""
    tolerance: timedelta = timedelta(minutes=5)


INTAKE: Final = web.AppKey("intake", Intake)
LISTENERS: Final = web.AppKey("listeners", Mapping[str, Listener])
REFUSALS: Final = web.AppKey("refusals", Refusals)
TOKENS: Final[web.AppKey[RecognisesTokens]] = web.AppKey("tokens")
OFFER: Final[web.AppKey[Callable[[Kept], None]]] = web.AppKey("offer")
"""Takes what was kept, to be understood in this process; where none understands, it does nothing."""
POSTED: Final = web.AppKey("posted", asyncio.Semaphore)
"""Lets a few posted mails be read at once: each is whole in memory, where it is unpacked."""
MAX_DELIVERY_BYTES: Final = web.AppKey("max_delivery_bytes", int)
