"""What the pages say of the verdicts on a mail."""

from collections.abc import Iterator
from typing import Final

from service.sources.mail.verdicts import (
    Chain,
    Outcome,
    Signature,
    Spf,
    SpfResult,
    Verdicts,
)
from service.web.views import VerdictView

WAITING: Final = (VerdictView(words="waiting"),)
"""What is said of a signed mail until it has been checked."""

_SPF_GOOD: Final = {SpfResult.PASS: True, SpfResult.FAIL: False, SpfResult.SOFTFAIL: False}


def verdict_views(verdicts: Verdicts) -> tuple[VerdictView, ...]:
    """Return what is said of ``verdicts``, what speaks for the sender first."""
    return tuple(_views(verdicts))


def keys_of(verdicts: Verdicts) -> tuple[tuple[str, str], ...]:
    """Return the keys that the verdicts rest on, each once."""
    keys = {one.key_name: one.key_record for one in verdicts.signatures if one.key_record}
    chain = verdicts.chain.key_records if verdicts.chain else ()
    return tuple({**keys, **{name: record for name, record in chain if record}}.items())


def _views(verdicts: Verdicts) -> Iterator[VerdictView]:
    if verdicts.problem:
        yield VerdictView(words="problem")
        return
    order = sorted(verdicts.signatures, key=lambda one: not one.is_of_author)
    yield from (_signature(one) for one in order)
    if verdicts.chain is not None:
        yield _chain(verdicts.chain)
    if verdicts.spf.result is not SpfResult.NOT_APPLICABLE:
        yield _spf(verdicts.spf)


def _signature(one: Signature) -> VerdictView:
    words = one.outcome.value
    if one.outcome is Outcome.VALID:
        words = "partial" if one.is_partial else "author" if one.is_of_author else "other"
    return VerdictView(
        words=words,
        domain=one.domain,
        reason=one.reason.value if one.reason else None,
        is_good=_is_good(one.outcome),
    )


def _chain(chain: Chain) -> VerdictView:
    return VerdictView(
        words=f"chain_{chain.outcome}",
        domain=chain.domain,
        reason=chain.reason.value if chain.reason else None,
        is_good=_is_good(chain.outcome),
    )


def _spf(spf: Spf) -> VerdictView:
    return VerdictView(
        words=f"spf_{spf.result}", domain=spf.domain, is_good=_SPF_GOOD.get(spf.result)
    )


def _is_good(outcome: Outcome) -> bool | None:
    return None if outcome is Outcome.UNCHECKED else outcome is Outcome.VALID
