"""What sources usually carry, by their kind: what the notice has to cover where the source itself does not say."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from service.domain.contact import Channel, Direction
from service.domain.notice import Traffic
from service.sources.posted_mail import UNPACKING

_CALLS: Final = tuple(Traffic(Channel.CALL, direction) for direction in Direction)
_CHATS: Final = tuple(Traffic(Channel.CHAT, direction) for direction in Direction)
_MAILS: Final = tuple(Traffic(Channel.EMAIL, direction) for direction in Direction)
USUALLY_CARRIED: Final[Mapping[str, tuple[Traffic, ...]]] = MappingProxyType(
    {
        "freeswitch": _CALLS,
        "asterisk": _CALLS,
        "rtpengine": _CALLS,
        "siprec": _CALLS,
        "genesys": (*_CALLS, *_CHATS, *_MAILS),
        "chatwoot": _CHATS,
        "whatsapp": _CHATS,
        "zendesk": (*_CHATS, *_MAILS),
        "mail": _MAILS,
        **dict.fromkeys(UNPACKING, _MAILS),
        "ses": _MAILS,
    }
)
"""Kinds that are not named carry what their source says."""
