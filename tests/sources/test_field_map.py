"""Field maps: the JSON of a system with a shape of its own becomes a contact, or it is said what is wrong."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import AnnouncedRecording, Channel, Direction, Party, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.sources.field_map import FIELDS, FieldMap, FieldRule

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RULE = SourceRule()
MAP = {
    "source_id": "/call/id",
    "channel": "= call",
    "direction": "/call/dir | in = inbound | out = outbound",
    "started_at": "/call/begin",
    "ended_at": "/call/end",
    "queue": "/queue/name",
    "customer.phone": "/call/from",
    "agent.agent_id": "/agent/number",
    "recording": "/call/recorded | true = expected | false = none",
}
CALL = {
    "call": {
        "id": 4711,
        "dir": "in",
        "begin": 1763812920,
        "end": "2025-11-22 14:05:30",
        "from": "040 123 4567",
        "recorded": True,
    },
    "queue": {"name": "Asiakaspalvelu"},
    "agent": {"number": 17},
}


def understand(texts, document):
    return FieldMap.parse(texts).adapter()(json.dumps(document).encode(), RULE, NOW)


def test_a_document_of_another_shape_becomes_a_contact():
    (facts,) = understand(MAP, CALL).contacts
    assert (facts.source_id, facts.channel, facts.direction) == (
        "4711",
        Channel.CALL,
        Direction.INBOUND,
    )
    assert facts.started_at == datetime(2025, 11, 22, 12, 2, tzinfo=UTC)
    assert facts.ended_at == datetime(2025, 11, 22, 12, 5, 30, tzinfo=UTC)
    assert facts.parties == (
        Party(role=PartyRole.CUSTOMER, phone="+358401234567"),
        Party(role=PartyRole.AGENT, agent_id="17"),
    )
    assert (facts.queue, facts.recording) == ("Asiakaspalvelu", "expected")


@pytest.mark.parametrize(
    ("sent", "at"),
    [
        ("2026-01-20T14:02:00+02:00", datetime(2026, 1, 20, 12, 2, tzinfo=UTC)),
        ("2026-01-20 14:02", datetime(2026, 1, 20, 12, 2, tzinfo=UTC)),
        ("2026-07-20T14:02:00", datetime(2026, 7, 20, 11, 2, tzinfo=UTC)),
        (1768910520, datetime(2026, 1, 20, 12, 2, tzinfo=UTC)),
        (1768910520123, datetime(2026, 1, 20, 12, 2, 0, 123000, tzinfo=UTC)),
        ("1768910520.5", datetime(2026, 1, 20, 12, 2, 0, 500000, tzinfo=UTC)),
        # Of the hour that the autumn night has twice, the first.
        ("2026-10-25 03:30", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_every_form_that_systems_write(sent, at):
    document = {**CALL, "call": {**CALL["call"], "begin": sent, "end": None}}
    (facts,) = understand(MAP, document).contacts
    assert facts.started_at == at


def test_local_times_are_those_of_the_source():
    rule = SourceRule(timezone=ZoneInfo("Europe/Stockholm"))
    body = json.dumps({**CALL, "call": {**CALL["call"], "begin": "2025-11-22 13:00"}}).encode()
    (facts,) = FieldMap.parse(MAP).adapter()(body, rule, NOW).contacts
    assert facts.started_at == datetime(2025, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("call", "id"), None, "source_id: nothing stands there"),
        (("call", "id"), {}, "source_id: an object or an array"),
        (("call", "dir"), "sideways", "direction: the value that stands there has no meaning"),
        (("call", "begin"), True, "started_at: true and false are no times"),
        (("call", "begin"), "yesterday", "started_at is not an RFC 3339 time"),
        (("call", "begin"), "2026-02-30 10:00", "started_at: there is no such time"),
        (("call", "begin"), 99999999999999, "started_at"),
        (("call", "end"), "2020-01-01T00:00:00Z", "ended_at is before started_at"),
        (("queue", "name"), "a\u202eb", "queue has characters that cannot be seen"),
    ],
)
def test_what_does_not_fit_is_said_with_its_field(place, value, said):
    outer, inner = place
    document = {**CALL, outer: {**CALL[outer], inner: value}}
    with pytest.raises(InvalidInputError) as refused:
        understand(MAP, document)
    assert said in refused.value.detail
    assert "sideways" not in refused.value.detail, "what was sent is not repeated"


def test_every_field_that_does_not_fit_is_named_at_once():
    document = {"call": {"dir": 7, "begin": []}}
    with pytest.raises(InvalidInputError) as refused:
        understand(MAP, document)
    for name in ("source_id", "direction", "started_at"):
        assert f"{name}: " in refused.value.detail


def test_messages_are_looked_for_in_each_member_of_an_array():
    texts = {
        **MAP,
        "channel": "= chat",
        "messages": "/lines",
        "messages.from": "/who",
        "messages.at": "/t",
        "messages.text": "/say",
    }
    lines = [
        {"who": "Maija", "t": 1763812920, "say": "Hei"},
        {"who": "A", "t": 1763812930, "say": "Moi"},
    ]
    (facts,) = understand(texts, {**CALL, "lines": lines}).contacts
    assert [(one.sender, one.text) for one in facts.messages] == [
        ("Maija", "Hei"),
        ("A", "Moi"),
    ]
    with pytest.raises(InvalidInputError, match="a message lacks"):
        understand(texts, {**CALL, "lines": [{"who": "Maija"}]})
    (facts,) = understand(texts, CALL).contacts
    assert facts.messages == ()


def test_a_recording_can_be_announced_to_be_fetched():
    texts = {**MAP, "recording.name": "= call.wav", "recording.url": "/call/audio"}
    document = {**CALL, "call": {**CALL["call"], "audio": "https://pbx.example.org/1.wav"}}
    (facts,) = understand(texts, document).contacts
    assert facts.recordings == (
        AnnouncedRecording(name="call.wav", url="https://pbx.example.org/1.wav"),
    )
    (facts,) = understand(texts, CALL).contacts
    assert facts.recordings == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source_id": ""}, "there is no rule for source_id"),
        ({"started_at": "", "channel": " "}, "no rule for channel, started_at"),
        ({"colour": "/x"}, "no such field"),
        ({"queue": "queue"}, "queue: a pointer begins with /"),
        ({"queue": "/q | a"}, "after | stands a value"),
        ({"queue": "/q | a = b | a = c"}, "each value once"),
        ({"queue": "/" + "q" * 1000}, "one line of at most 1000"),
        ({"queue": "/q\n"}, "one line"),
        ({"queue": "/q" + "".join(f" | {n} = x" for n in range(51))}, "at most 50 values"),
        ({"messages": "/m"}, "go together"),
        ({"recording.content_type": "= audio/wav"}, "go together"),
    ],
)
def test_what_makes_no_map_is_refused(change, said):
    with pytest.raises(InvalidInputError) as refused:
        FieldMap.parse({**MAP, **change})
    assert said in refused.value.detail


def test_a_star_gives_every_other_value_its_meaning():
    rule = FieldRule.parse("/d | in = inbound | * = outbound")
    assert rule.find({"d": "in"}) == "inbound"
    assert rule.find({"d": 3}) == "outbound"
    assert rule.find({}) is None


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["call", "id", "dir", "begin", "queue", "from", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(ANYTHING)
def test_whatever_comes_is_a_contact_or_refused_in_words(document):
    with suppress(InvalidInputError):
        understand(MAP, document)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=60), max_size=6))
def test_whatever_is_written_is_a_map_or_refused(texts):
    try:
        made = FieldMap.parse({**MAP, **texts})
    except InvalidInputError:
        return
    made.apply(CALL, RULE)
