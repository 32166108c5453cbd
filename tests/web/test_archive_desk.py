"""The desk on real use cases: what the pages show of a call that nobody recorded."""

from datetime import UTC, datetime

import pytest

from service.domain.actor import Role
from service.domain.contact import Channel, ContactFacts, Direction, RecordingState
from service.serving import build_service
from service.web.app_keys import DESK
from tests.conftest import actor


@pytest.mark.parametrize("reason", ["asiakas kielsi", None])
async def test_a_call_without_a_recording_says_why(archive, now, reason):
    facts = ContactFacts(
        source_id="c-1",
        channel=Channel.CALL,
        direction=Direction.INBOUND,
        started_at=datetime(2026, 11, 20, 12, 2, tzinfo=UTC),
        recording="none" if reason else None,
        not_recorded_reason=reason,
    )
    outcome = await archive.contacts.add(
        facts, source="pbx", actor=actor(Role.INTEGRATION), now=now
    )
    desk = build_service(archive).app[DESK]
    detail = await desk.contact_detail(
        outcome.contact.id, actor=actor(Role.COMPLAINT_HANDLER), now=now
    )
    (shown,) = detail.recordings
    assert shown.state is RecordingState.NOT_RECORDED
    assert shown.cause == (reason or "not_announced")
