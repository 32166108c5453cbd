"""The kinds of sources: what each delivers, and how it says who it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from service.sources import (
    asterisk,
    asterisk_files,
    freeswitch,
    genesys_files,
    rtpengine_files,
    siprec_files,
)
from service.sources.asterisk_ari import understand_ari
from service.sources.chatwoot import understand_chatwoot
from service.sources.chatwoot_listing import understand_listed
from service.sources.cloudevents import understand_cloudevents
from service.sources.events import Adapter, SourceRule, Understood
from service.sources.files import FileKind
from service.sources.freeswitch_files import recognise_file
from service.sources.generic import parse_contact
from service.sources.genesys import understand_genesys
from service.sources.posted_mail import UNPACKING, Unpack, refuse_posted
from service.sources.rtpengine import understand_rtpengine
from service.sources.ses import understand_ses, unpack_ses
from service.sources.siprec import understand_siprec
from service.sources.twilio import understand_twilio
from service.sources.whatsapp import understand_whatsapp
from service.sources.zendesk import understand_zendesk


class Sender(Enum):
    """How a kind's deliveries over HTTP are known to be its own."""

    SIGNATURE = auto()
    """By a Standard Webhooks signature."""
    SECRET = auto()
    """By a shared secret, which is sent: HTTP Basic, or in the path by those that have no credentials; or by token."""
    TWILIO = auto()
    """By Twilio's signature of the URL and its parameters."""
    BODY = auto()
    """By a signature of the raw body, in a scheme of its own (`service.intake.body_signatures`)."""
    TOKEN = auto()
    """By a token alone."""


class Stereo(Enum):
    """Who is heard on the first of two channels."""

    UNTOLD = auto()
    """Nobody can tell: not the same in all its recordings, or not documented."""
    AGENT_FIRST = auto()
    CALLER_FIRST = auto()
    """Whoever called: the customer of an inbound call, the agent of an outbound one."""


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A kind of sources. ``adapters`` understand its deliveries, by what these are (``DeliveryRow.kind``).

    ``stereo`` says whose its channels are. ``files`` says what the files are that it leaves in directories; None where
    it leaves none. ``unpack`` finds the mails that it posts; None where it posts none. ``sends_vcons``: what it sends
    is kept whole, as large as it is.
    """

    sender: Sender
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    files: FileKind | None = None
    unpack: Unpack | None = None
    sends_vcons: bool = False
    stereo: Stereo = Stereo.UNTOLD


def _understand_contact(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    _, understood = parse_contact(body, region=rule.region, now=now)
    return understood


_CONTACT: Final = MappingProxyType({"contact": _understand_contact})

KINDS: Final[Mapping[str, SourceKind]] = MappingProxyType(
    {
        # As docs/http-api.md asks for it.
        "standard-webhooks": SourceKind(Sender.SIGNATURE, _CONTACT, stereo=Stereo.AGENT_FIRST),
        "api": SourceKind(Sender.TOKEN, _CONTACT, stereo=Stereo.AGENT_FIRST),
        "freeswitch": SourceKind(
            Sender.SECRET,
            MappingProxyType({"request": freeswitch.understand_request}),
            files=recognise_file,
            # RECORD_STEREO: left what the recorded leg says, right what it hears.
            stereo=Stereo.CALLER_FIRST,
        ),
        "twilio": SourceKind(Sender.TWILIO, MappingProxyType({"request": understand_twilio})),
        "asterisk": SourceKind(
            Sender.SECRET,
            MappingProxyType(
                {
                    "request": asterisk.understand_request,
                    "event": asterisk.understand_event,
                    "ari": understand_ari,
                }
            ),
            files=asterisk_files.recognise_file,
        ),
        "rtpengine": SourceKind(
            Sender.SECRET,
            MappingProxyType({"request": understand_rtpengine}),
            files=rtpengine_files.recognise_file,
        ),
        "siprec": SourceKind(
            Sender.SECRET,
            MappingProxyType({"request": understand_siprec}),
            files=siprec_files.recognise_file,
        ),
        "genesys": SourceKind(
            Sender.TOKEN,
            MappingProxyType({"request": understand_genesys}),
            files=genesys_files.recognise_file,
        ),
        "cloudevents": SourceKind(
            Sender.SECRET, MappingProxyType({"request": understand_cloudevents})
        ),
        "chatwoot": SourceKind(
            Sender.BODY,
            MappingProxyType({"request": understand_chatwoot, "listed": understand_listed}),
        ),
        "whatsapp": SourceKind(Sender.BODY, MappingProxyType({"request": understand_whatsapp})),
        "zendesk": SourceKind(Sender.BODY, MappingProxyType({"request": understand_zendesk})),
        "vcon": SourceKind(Sender.SECRET, sends_vcons=True),
        "mail": SourceKind(Sender.TOKEN),
        **{
            name: SourceKind(
                Sender.SECRET, MappingProxyType({"request": refuse_posted}), unpack=unpack
            )
            for name, unpack in UNPACKING.items()
        },
        "ses": SourceKind(
            Sender.SECRET, MappingProxyType({"request": understand_ses}), unpack=unpack_ses
        ),
    }
)
"""Each kind by the name that the settings call it."""
