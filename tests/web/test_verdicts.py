from datetime import UTC, datetime

from service.archive.checks import (
    Anchor,
    AnchorKind,
    Code,
    State,
    decide_state,
    failed,
    passed,
    unknown,
)
from service.archive.verify import Verification
from service.web.verdicts import verification_view
from service.web.views import AnchorView, CheckOutcome

NOW = datetime(2026, 9, 4, 7, 30, tzinfo=UTC)


def view(*checks):
    return verification_view(
        Verification(
            contact_id="ct_1",
            state=decide_state(checks),
            checks=checks,
            proofs=(),
            tree_size=None,
            checked_at=NOW,
        )
    )


def test_each_kind_of_check_is_one_line_in_the_order_of_the_checks():
    shown = view(
        passed(Code.CONTACT_ROW, "ct_1"),
        passed(Code.CHUNKS, "ob_1"),
        passed(Code.CONTACT_ROW, "ct_1"),
    )
    assert [check.code for check in shown.checks] == ["contact_row", "chunks"]


def test_the_worst_of_a_kind_is_told_with_all_that_it_is_about():
    shown = view(
        passed(Code.CHUNKS, "ob_1"),
        failed(Code.CHUNKS, "ob_2", "Chunk 3 does not authenticate."),
        unknown(Code.CHUNKS, "ob_3", "There is no key."),
        failed(Code.CHUNKS, "ob_4", "The end is missing."),
    )
    (check,) = shown.checks
    assert check.outcome is CheckOutcome.FAILED
    assert check.details == (
        "ob_2: Chunk 3 does not authenticate.",
        "ob_4: The end is missing.",
    )


def test_what_vouches_outside_is_shown_by_name():
    anchors = (
        Anchor(AnchorKind.DIRECTORY, "2026-09-04/log-000000000007.checkpoint", 7),
        Anchor(AnchorKind.WITNESS, "witness.example.org", 7, NOW),
    )
    shown = verification_view(
        Verification(
            contact_id="ct_1",
            state=State.ANCHORED,
            checks=(),
            proofs=(),
            tree_size=7,
            checked_at=NOW,
            anchors=anchors,
        )
    )
    assert shown.anchors == (
        AnchorView(kind="directory", name="2026-09-04/log-000000000007.checkpoint"),
        AnchorView(kind="witness", name="witness.example.org", at=NOW),
    )
