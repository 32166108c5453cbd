"""The verification of a contact as its page shows it: one line for each kind of check, the worst of its kind."""

from service.archive.checks import Outcome
from service.archive.verify import Verification as Verified
from service.web.views import CheckOutcome, CheckView, IntegrityState, Verification

_WORST_FIRST = (Outcome.FAILED, Outcome.UNKNOWN, Outcome.WAITING, Outcome.PASSED)


def verification_view(verified: Verified) -> Verification:
    """Return what the page shows of ``verified``."""
    worst: dict[str, CheckView] = {}
    for check in sorted(verified.checks, key=lambda one: _WORST_FIRST.index(one.outcome)):
        worst.setdefault(
            check.code.value,
            CheckView(
                code=check.code.value,
                outcome=CheckOutcome(check.outcome.value),
                detail=check.detail,
            ),
        )
    order = list(dict.fromkeys(check.code.value for check in verified.checks))
    return Verification(
        state=IntegrityState(verified.state.value),
        checks=tuple(worst[code] for code in order),
        checked_at=verified.checked_at,
        entry_index=max((proof.index for proof in verified.proofs), default=None),
        tree_size=verified.tree_size,
    )
