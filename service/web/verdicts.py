"""The verification of a contact as its page shows it: one line for each kind of check, the worst of its kind."""

from collections.abc import Sequence

from service.archive.checks import Check, Code, Outcome
from service.archive.verify import Verification as Verified
from service.web.views import AnchorView, CheckOutcome, CheckView, IntegrityState, Verification

_WORST_FIRST = (Outcome.FAILED, Outcome.UNKNOWN, Outcome.WAITING, Outcome.PASSED)


def verification_view(verified: Verified) -> Verification:
    """Return what the page shows of ``verified``."""
    by_code: dict[Code, list[Check]] = {}
    for check in verified.checks:
        by_code.setdefault(check.code, []).append(check)
    return Verification(
        state=IntegrityState(verified.state.value),
        checks=tuple(_check_view(code, checks) for code, checks in by_code.items()),
        checked_at=verified.checked_at,
        entry_index=max((proof.index for proof in verified.proofs), default=None),
        tree_size=verified.tree_size,
        anchors=tuple(
            AnchorView(kind=one.kind.value, name=one.name, at=one.at)
            for one in verified.anchors
        ),
    )


def _check_view(code: Code, checks: Sequence[Check]) -> CheckView:
    worst = min((check.outcome for check in checks), key=_WORST_FIRST.index)
    return CheckView(
        code=code.value,
        outcome=CheckOutcome(worst.value),
        details=tuple(
            f"{check.about}: {check.detail}"
            for check in checks
            if check.outcome is worst and check.detail
        ),
    )
