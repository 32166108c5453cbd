"""What vCons tell, in the words of the draft, of older drafts and of its examples."""

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.chat import LEFT_OUT
from service.sources.events import SourceRule
from service.sources.vcon.contact import understand_vcon
from service.sources.vcon.extension import CONTACT
from service.sources.vcon.forms import MAX_VALUES, _object
from service.sources.vcon.rule import VconRule
from tests.vcons import NOW, UUID, call, encoded, signed, signer

EXAMPLES = (
    Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "vcon" / "examples"
)
AUDIO = b"RIFF-not-quite-a-wave"
ROLES = (PartyRole.CUSTOMER, PartyRole.AGENT)
SHA512 = "sha512-" + encoded(hashlib.sha512(AUDIO).digest())
ELSEWHERE = {"url": "https://media.example.com/a.wav", "body": None, "encoding": None}


def read(vcon, /, **rule):
    body = vcon if isinstance(vcon, bytes) else json.dumps(vcon).encode()
    return understand_vcon(body, SourceRule(**rule), received_at=NOW, now=NOW)


def facts(vcon, /, **rule):
    return read(vcon, **rule).facts


def refused(vcon):
    with pytest.raises(InvalidInputError) as told:
        read(vcon)
    return told.value.detail


def dialog(**changes):
    told = {**call()["dialog"][0], **changes}
    return {name: value for name, value in told.items() if value is not None}


def text(body="Hei", **changes):
    return dialog(
        **{
            "type": "text",
            "mediatype": "text/plain",
            "encoding": "none",
            "body": body,
            **changes,
        }
    )


def test_a_call_with_its_recording():
    found = read(call(subject="Lasku"))
    (recording,) = found.recordings
    assert (recording.name, recording.content_type) == ("a.wav", "audio/wav")
    assert recording.data == AUDIO
    told = found.facts
    assert (told.source_id, told.channel, told.direction) == (
        UUID,
        Channel.CALL,
        Direction.INBOUND,
    )
    assert told.started_at == datetime(2026, 11, 22, 8, 58, tzinfo=UTC)
    assert told.started_at_as_sent == "2026-11-22T10:58:00+02:00"
    assert told.ended_at == told.started_at + timedelta(seconds=61.5)
    assert [(one.role, one.phone, one.name) for one in told.parties] == [
        (PartyRole.CUSTOMER, "+358401234567", "Ines Esimerkki"),
        (PartyRole.AGENT, "+358201234567", "Asiakaspalvelu"),
    ]
    assert (told.subject, found.remarks) == ("Lasku", ())


# -- who began


@pytest.mark.parametrize(
    ("first", "rule", "direction"),
    [
        (0, {}, Direction.INBOUND),
        (1, {}, Direction.INBOUND),
        (0, {"vcon": VconRule(direction=Direction.OUTBOUND)}, Direction.OUTBOUND),
        (0, {"company_numbers": {"+358401234567"}}, Direction.OUTBOUND),
        (0, {"company_numbers": {"+358201234567"}}, Direction.INBOUND),
        (1, {"company_numbers": {"+358201234567"}}, Direction.OUTBOUND),
        (1, {"company_numbers": {"+358401234567"}}, Direction.INBOUND),
    ],
)
def test_who_began_is_the_first_party_and_whose_it_is_decides(first, rule, direction):
    told = facts(call(dialog=[dialog(parties=[first, 1 - first])]), **rule)
    assert told.direction is direction
    agents = [one.phone for one in told.parties if one.role is PartyRole.AGENT]
    customers = [one.phone for one in told.parties if one.role is PartyRole.CUSTOMER]
    assert (len(agents), len(customers)) == (1, 1)
    began = call()["parties"][first]["tel"].removeprefix("tel:")
    assert began in (customers if direction is Direction.INBOUND else agents)


def test_the_originator_goes_before_the_first_party():
    rule = {"company_numbers": frozenset({"+358201234567"})}
    told = facts(call(dialog=[dialog(parties=[0, 1], originator=1)]), **rule)
    assert told.direction is Direction.OUTBOUND


def test_the_earliest_dialog_says_who_began_wherever_it_stands():
    rule = {"company_numbers": frozenset({"+358201234567"})}
    later = dialog(start="2026-11-22T12:00:00Z", parties=[0, 1], filename="b")
    told = facts(call(dialog=[later, dialog(parties=[1, 0])]), **rule)
    assert told.direction is Direction.OUTBOUND
    assert told.ended_at == datetime(2026, 11, 22, 12, 1, 1, 500000, tzinfo=UTC)


@pytest.mark.parametrize(
    "parties", [[[0], [1]], [[], [0, 1]], [None, 0], 0, [0], [[0, 1], None]]
)
def test_parties_of_each_channel_are_understood(parties):
    assert facts(call(dialog=[dialog(parties=parties)])).direction is Direction.INBOUND


@pytest.mark.parametrize("parties", [[7], 7, [-1], [True], "0", {}, [], None, [["x"]]])
def test_a_place_where_nobody_is_does_no_harm(parties):
    told = facts(call(dialog=[dialog(parties=parties)]))
    assert len(told.parties) == len(call()["parties"])


def test_roles_of_the_contact_centre_extension_count():
    parties = [
        {"name": "A", "role": "agent"},
        {"name": "B", "role": "customer"},
        {"name": "C", "role": "thirdparty"},
        {"name": "D", "type": "bot"},
        {},
    ]
    told = facts(call(parties=parties, critical=["CC"]))
    assert told.direction is Direction.OUTBOUND
    assert [(one.name, one.role) for one in told.parties] == [
        ("A", PartyRole.AGENT),
        ("B", PartyRole.CUSTOMER),
        ("C", PartyRole.OTHER),
        ("D", PartyRole.OTHER),
    ]


@pytest.mark.parametrize(
    ("member", "phone", "as_sent", "email"),
    [
        ({"tel": "tel:040-123 4567;ext=1"}, "+358401234567", None, None),
        ({"tel": "anonymous"}, None, "anonymous", None),
        ({"sip": "sip:+358401234567@sip.example.fi"}, "+358401234567", None, None),
        ({"sip": "sips:ines@sip.example.fi;x=1"}, None, "ines@sip.example.fi", None),
        ({"mailto": "mailto:Ines%40example.fi?subject=x"}, None, None, "ines@example.fi"),
        ({"mailto": "Ines <ines@EXAMPLE.fi>"}, None, None, "ines@example.fi"),
        ({"name": "x", "mailto": "nobody"}, None, None, None),
    ],
)
def test_addresses_in_every_form(member, phone, as_sent, email):
    (party,) = facts(call(parties=[member])).parties
    assert (party.phone, party.phone_as_sent, party.email) == (phone, as_sent, email)


def test_the_company_is_known_by_its_mail_too():
    parties = [{"mailto": "apu@example.com"}, {"mailto": "ines@example.fi"}]
    rule = {"company_addresses": frozenset({"@example.com"})}
    told = facts(call(parties=parties, dialog=[text()]), **rule)
    assert (told.channel, told.direction) == (Channel.EMAIL, Direction.OUTBOUND)


# -- dialogs


def test_texts_are_messages_by_their_sender():
    told = facts(call(dialog=[text("Hei"), text("Moi äö", parties=[1, 0])]))
    assert told.channel is Channel.CHAT
    assert [(one.sender, one.text) for one in told.messages] == [
        ("Ines Esimerkki", "Hei"),
        ("Asiakaspalvelu", "Moi äö"),
    ]


@pytest.mark.parametrize(
    ("member", "plain"),
    [
        ({"encoding": "base64url", "body": encoded("ä\n".encode())}, "ä\n"),
        ({"encoding": "json", "body": {"a": [1, "ä"]}}, '{"a": [1, "ä"]}'),
        ({"encoding": None, "body": "ä"}, "ä"),
        ({"encoding": "none", "body": ""}, ""),
    ],
)
def test_bodies_in_every_encoding(member, plain):
    (message,) = facts(call(dialog=[text(**member)])).messages
    assert message.text == plain


@pytest.mark.parametrize(
    "member",
    [
        {"encoding": "base64url", "body": "a b"},
        {"encoding": "base64url", "body": "a"},
        {"encoding": "base64url", "body": 7},
        {"encoding": "none", "body": {}},
        {"encoding": "rot13", "body": "x"},
        {"encoding": "none", "body": "a\x00b"},
    ],
)
def test_a_body_that_is_not_in_its_encoding_is_refused(member):
    assert refused(call(dialog=[text(**member)])).startswith("dialog[0]")


@pytest.mark.parametrize(
    "member",
    [
        {"content_hash": SHA512},
        {"content_hash": ["sha256-AAAA", SHA512]},
        {"alg": "SHA-512", "signature": SHA512.removeprefix("sha512-")},
    ],
)
def test_an_inline_recording_is_held_against_its_hash(member):
    assert read(call(dialog=[dialog(**member)])).recordings[0].data == AUDIO
    other = encoded(b"other")
    assert "content_hash" in refused(call(dialog=[dialog(**member, body=other)]))


@pytest.mark.parametrize("told", ["sha256-AAAA", "sha512-AAAA", ["md5-x"], 7])
def test_a_hash_that_cannot_be_checked_is_not_passed_over(told):
    assert "content_hash" in refused(call(dialog=[dialog(content_hash=told)]))


def test_a_recording_elsewhere_is_fetched_and_held_against_its_hash():
    told = facts(call(dialog=[dialog(**ELSEWHERE, content_hash=SHA512)]))
    (announced,) = told.recordings
    assert (announced.url, announced.name) == (ELSEWHERE["url"], "a.wav")
    assert announced.sha512 == hashlib.sha512(AUDIO).hexdigest()
    assert ELSEWHERE["url"] not in repr(told)


def test_recordings_have_names_of_their_own():
    dialogs = [
        dialog(),
        dialog(),
        dialog(filename=None),
        dialog(**ELSEWHERE),
        dialog(**ELSEWHERE),
    ]
    found = read(call(dialog=dialogs))
    names = [one.name for one in (*found.recordings, *found.facts.recordings)]
    assert names == ["a.wav", "dialog[1] a.wav", "dialog-2", "dialog[3] a.wav"]


def test_a_call_that_did_not_come_about():
    incomplete = dialog(type="incomplete", disposition="no-answer", body=None, encoding=None)
    told = facts(call(dialog=[incomplete]))
    assert (told.channel, told.outcome, told.recording) == (Channel.CALL, "no-answer", "none")
    assert told.not_recorded_reason == "no-answer"
    recorded = facts(call(dialog=[incomplete, dialog()]))
    assert (recorded.recording, recorded.outcome) == (None, None)


def test_a_transfer_is_part_of_the_contact():
    transfer = {
        "type": "transfer",
        "start": "2026-11-22T09:00:00Z",
        "transferor": 1,
        "transferee": 0,
        "transfer-target": 2,
        "original": 0,
        "target-dialog": 2,
    }
    parties = [*call()["parties"], {"name": "Laskutus"}]
    told = facts(call(parties=parties, dialog=[dialog(), transfer, dialog(filename="b.wav")]))
    assert [one.name for one in told.parties] == [
        "Ines Esimerkki",
        "Asiakaspalvelu",
        "Laskutus",
    ]


def test_a_text_elsewhere_and_parts_without_a_place_are_said_to_be_left_out():
    assert read(call(dialog=[text(body=None, url="https://x.example.com/a")])).remarks == (
        LEFT_OUT,
    )
    for member in (
        {"attachments": [{"purpose": "contract"}]},
        {"analysis": [{"type": "summary"}]},
    ):
        assert read(call(**member)).remarks == (LEFT_OUT,)
    assert read(call(attachments=[{"purpose": "recording_pause"}], analysis=[])).remarks == ()


# -- older drafts and other writers


def test_names_of_older_drafts_are_understood():
    old = dialog(mediatype=None, mimetype="audio/x-wav")
    vcon = call(vcon="0.0.1", dialog=[old], group=[], redacted={}, appended=None)
    assert read(vcon).recordings[0].content_type == "audio/x-wav"


@pytest.mark.parametrize("name", ["critical", "must_support"])
def test_what_has_to_be_known_and_is_not_is_refused(name):
    assert "does not know" in refused(call(**{name: ["lawful-basis"]}))
    assert "list" in refused(call(**{name: "taltio"}))
    assert facts(call(**{name: ["taltio"]})).source_id == UUID


@pytest.mark.parametrize(
    "changes",
    [
        {"uuid": None},
        {"uuid": ""},
        {"parties": {"a": 1}},
        {"parties": ["Ines"]},
        {"parties": [{}] * 201},
        {"dialog": [dialog(start="yesterday")]},
        {"dialog": [dialog(type="seance")]},
        {"dialog": [], "created_at": None},
        {"dialog": [text()] * 2001},
        {"dialog": [dialog(filename=str(n)) for n in range(101)]},
        {"dialog": [dialog(start="9999-12-31T23:59:59Z")]},
    ],
)
def test_what_would_be_understood_wrongly_is_refused(changes):
    assert refused({name: one for name, one in call(**changes).items() if one is not None})


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b'{"text":"x"}', b'{"a":1,"a":2}']
)
def test_what_is_no_vcon_is_refused(body):
    refused(body)


def test_a_vcon_without_dialogs_began_when_it_was_made():
    told = facts(call(dialog=[]))
    assert (told.started_at, told.channel) == (
        datetime(2026, 11, 22, 11, tzinfo=UTC),
        Channel.CALL,
    )


def test_a_time_that_cannot_be_is_remarked_upon():
    assert read(call(dialog=[dialog(start="1970-01-01T00:00:00Z")])).remarks == (
        "time_out_of_window",
    )


@pytest.mark.parametrize(
    ("name", "channel", "messages", "recordings"),
    [
        ("ab_call_ext_rec.vcon", Channel.CALL, 0, 1),
        ("ab_call_ext_rec_signed.vcon", Channel.CALL, 0, 1),
        ("ab_call_ext_rec_analysis.vcon", Channel.CALL, 0, 1),
        ("ab_call_int_rec.vcon", Channel.CALL, 0, 1),
        ("ab_email_acct_prob_thread.vcon", Channel.EMAIL, 2, 0),
        ("ab_email_prob_followup_text_thread.vcon", Channel.EMAIL, None, 0),
    ],
)
def test_the_examples_of_the_draft(name, channel, messages, recordings):
    file = EXAMPLES / name
    if not file.exists():
        pytest.skip("the IETF's examples of vCons are absent")
    found = read(file.read_bytes())
    assert found.facts.channel is channel
    assert messages is None or len(found.facts.messages) == messages
    assert len(found.recordings) + len(found.facts.recordings) == recordings
    assert {one.name for one in found.facts.parties} >= {"Alice", "Bob"}


# -- our own


def test_our_own_extension_says_what_a_vcon_has_no_place_for():
    own = {
        "channel": "call",
        "direction": "outbound",
        "started_at": "2026-11-22T10:57:00+02:00",
        "queue": "laskutus",
        "customer_number": "12345",
        "parties": [{"role": "other", "name": "Kolmas"}],
        "recordings": [{"name": "x", "url": "https://x.example.com"}],
    }
    told = facts(call(extensions=["taltio"], **{CONTACT: own}))
    assert (told.source_id, told.queue, told.direction) == (
        UUID,
        "laskutus",
        Direction.OUTBOUND,
    )
    assert (told.recordings, [one.name for one in told.parties]) == ((), ["Kolmas"])
    assert facts(call(**{CONTACT: own})).queue is None
    assert CONTACT in refused(call(extensions=["taltio"], **{CONTACT: {"channel": "fax"}}))


# -- anything

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
TOPS = (
    "parties", "dialog", "attachments", "analysis", "critical", "uuid", "extensions", CONTACT,
    "subject", "payload", "signatures",
)  # fmt: skip
NAMES = st.sampled_from(
    ["type", "start", "duration", "parties", "originator", "mediatype", "filename", "body",
     "encoding", "url", "content_hash", "alg", "signature", "disposition", "tel", "mailto",
     "sip", "name", "role"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(TOPS),
    JSON,
    st.dictionaries(NAMES, JSON, max_size=4),
)
def test_anything_is_understood_or_refused_in_words(name, value, members):
    for changed in (
        {name: value},
        {"dialog": [{**dialog(), **members}]},
        {"parties": [members, members]},
        {"signatures": [{**members, "protected": "e30", "header": value}], "payload": "e30"},
    ):
        with suppress(InvalidInputError):
            read(json.dumps({**call(), **changed}).encode())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 4000), st.binary(max_size=4))
def test_any_change_of_a_signed_one_is_refused_or_told(place, data):
    whole = signed(json.dumps(call()).encode(), signer("ES256"))
    changed = whole[:place] + data + whole[place + len(data) :]
    with suppress(InvalidInputError):
        assert read(changed).facts == facts(whole)


def test_versions_of_a_message_are_told_as_such():
    sent = text("Tilaan", message_id="m-1")
    edited = text("En tilaa", message_id="m-1", start="2026-11-22T10:20:00Z")
    deleted = text("", message_id="m-1", start="2026-11-22T10:30:00Z")
    changes = [
        {"purpose": "message_change", "dialog": place, "body": {"change": change}}
        for place, change in ((1, "edited"), (2, "deleted"), (0, ["edited"]), ("x", "edited"))
    ]
    vcon = {**call(), "dialog": [sent, edited, deleted], "attachments": changes}
    told = read(vcon)
    assert [(m.ident, m.change, m.text) for m in told.facts.messages] == [
        ("m-1", None, "Tilaan"),
        ("m-1", "edited", "En tilaa"),
        ("m-1", "deleted", ""),
    ]
    assert LEFT_OUT not in told.remarks


@pytest.mark.parametrize("value", [b"{}", b"[]", b"0", b'""'])
def test_a_few_bytes_that_would_fill_the_memory_are_refused_unread(value):
    data = b'{"vcon":"0.4.0","a":[' + b",".join([value] * (MAX_VALUES + 1)) + b"]}"
    with pytest.raises(InvalidInputError, match="at most"):
        _object(data)


def test_commas_and_brackets_of_a_long_text_are_no_values():
    data = json.dumps({"a": ',[{"\\' * (MAX_VALUES + 1)}).encode()
    assert _object(data)["a"]
