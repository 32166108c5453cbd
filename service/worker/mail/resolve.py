"""Asking DNS, as the machine is set up to."""

import re
from dataclasses import dataclass
from typing import Final, Protocol

from service.domain.errors import UnavailableError

TYPES: Final = frozenset({"A", "AAAA", "MX", "PTR", "TXT"})
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", re.ASCII)
_MOST_RECORDS: Final = 100
_MOST_CHARACTERS: Final = 8192


class Resolver(Protocol):
    """Answers questions to DNS."""

    async def records(self, name: str, kind: str) -> list[str]:
        """Return the records of a name and type as text, those of MX as ``10 host``; none where there are none.

        Raises:
            UnavailableError: DNS does not answer, or says that it cannot.
        """
        ...


@dataclass(frozen=True, slots=True)
class SystemResolver:
    """Asks the name servers of this machine; each question may take ``seconds``."""

    seconds: float = 5.0

    async def records(self, name: str, kind: str) -> list[str]:
        """Return the records; see the port."""
        if kind not in TYPES or not _NAME.fullmatch(name):
            return []
        # It takes long to load, and is needed only where signatures are checked.
        import dns.asyncresolver  # noqa: PLC0415  # see above
        import dns.exception  # noqa: PLC0415  # as above
        import dns.resolver  # noqa: PLC0415  # as above

        try:
            resolver = dns.asyncresolver.Resolver()
            answer = await resolver.resolve(name, kind, lifetime=self.seconds, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise UnavailableError(f"DNS does not answer: {type(error).__name__}") from None
        return [_text(kind, one)[:_MOST_CHARACTERS] for one in list(answer)[:_MOST_RECORDS]]


def _text(kind: str, record: object) -> str:
    if kind == "TXT":
        strings = getattr(record, "strings", ())
        return b"".join(strings).decode("utf-8", "replace")
    return str(record).rstrip(".")
