"""What WhatsApp's Cloud API tells: many messages at once, of people who show a number or none."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, MessageChange, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.sources.requests import received_request
from service.sources.whatsapp import MAX_MESSAGES, understand_whatsapp

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SENT_AT = datetime(2026, 11, 22, 10, 9, 5, tzinfo=UTC)
RULE = SourceRule(stored_recordings="https://graph.example.com/v23.0")
CUSTOMER = "358401234567"
SOUND = b"OggS and what follows"
TEXT = {
    "from": CUSTOMER,
    "id": "wamid.1",
    "timestamp": "1795342145",
    "type": "text",
    "text": {"body": "Tilaan sopimuksen"},
}
EDIT = {
    **TEXT,
    "id": "wamid.9",
    "timestamp": "1795342205",
    "type": "edit",
    "edit": {
        "original_message_id": "wamid.1",
        "message": {"type": "text", "text": {"body": "En tilaa"}},
    },
}
REVOKE = {
    **TEXT,
    "id": "wamid.10",
    "timestamp": "1795342265",
    "type": "revoke",
    "revoke": {"original_message_id": "wamid.1"},
}


def voice(**changes):
    told = {
        "id": "1003383421387256",
        "mime_type": "audio/ogg; codecs=opus",
        "sha256": base64.b64encode(hashlib.sha256(SOUND).digest()).decode(),
        "voice": True,
        **changes,
    }
    return {**TEXT, "id": "wamid.2", "type": "audio", "audio": told}


def value_of(*messages, **more):
    return {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "358201234567", "phone_number_id": "106540"},
        "contacts": [{"profile": {"name": "Maija"}, "wa_id": CUSTOMER, "user_id": "FI.13491"}],
        "messages": list(messages),
        **more,
    }


def request_of(*values, field="messages"):
    changes = [{"value": value, "field": field} for value in values]
    return {"object": "whatsapp_business_account", "entry": [{"id": "0", "changes": changes}]}


def understand(told, *, rule=RULE):
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    request = received_request("POST", "/intake/wa", [], body)
    return understand_whatsapp(request.encode(), rule, NOW)


def facts_of(message, *, rule=RULE):
    (facts,) = understand(request_of(value_of(message)), rule=rule).contacts
    return facts


def test_a_text_is_a_part_of_what_the_two_wrote_on_that_day():
    facts = facts_of(TEXT)
    assert facts.source_id == "106540:358401234567:2026-11-22"
    assert (facts.channel, facts.direction, facts.is_part) == (
        Channel.CHAT,
        Direction.INBOUND,
        True,
    )
    assert facts.started_at == facts.ended_at == SENT_AT
    customer, company = facts.parties
    assert (customer.role, customer.phone, customer.name) == (
        PartyRole.CUSTOMER,
        "+358401234567",
        "Maija",
    )
    assert (company.role, company.phone) == (PartyRole.OTHER, "+358201234567")
    (message,) = facts.messages
    assert (message.sender, message.sent_at, message.text, message.ident) == (
        "Maija",
        SENT_AT,
        "Tilaan sopimuksen",
        "wamid.1",
    )


def test_a_day_ends_where_the_company_is():
    late = {**TEXT, "timestamp": "1795386000"}  # 22:20 in UTC, 00:20 in Helsinki
    assert facts_of(late).source_id.endswith(":2026-11-23")
    utc = SourceRule(timezone=ZoneInfo("UTC"))
    assert facts_of(late, rule=utc).source_id.endswith(":2026-11-22")


def test_one_request_tells_of_many_messages_numbers_and_kinds_of_news():
    other = value_of(TEXT, metadata={"phone_number_id": "2"}, contacts=[])
    statuses = {"statuses": [{"id": "wamid.8", "status": "read", "timestamp": "1795342145"}]}
    told = request_of(value_of(TEXT, voice()), other, {**value_of(), **statuses})
    told["entry"].append(
        {"id": "1", "changes": [{"value": value_of(EDIT), "field": "messages"}]}
    )
    ids = [facts.source_id.partition(":")[0] for facts in understand(told).contacts]
    assert ids == ["106540", "106540", "2", "106540"]


def test_somebody_who_shows_no_number_is_known_by_an_id():
    hidden = {k: v for k, v in TEXT.items() if k != "from"} | {"from_user_id": "FI.13491"}
    facts = facts_of(hidden)
    assert facts.source_id == "106540:FI.13491:2026-11-22"
    customer = facts.parties[0]
    assert (customer.phone, customer.phone_as_sent, customer.name) == (
        None,
        "FI.13491",
        "Maija",
    )


def test_what_the_company_wrote_in_its_app_goes_out_to_the_customer():
    echo = {**TEXT, "from": "358201234567", "to": CUSTOMER}
    told = request_of(
        value_of(messages=None, message_echoes=[echo]), field="smb_message_echoes"
    )
    (facts,) = understand(told).contacts
    assert facts.direction is Direction.OUTBOUND
    assert facts.source_id == facts_of(TEXT).source_id
    assert facts.parties[0].phone == "+358401234567"
    assert facts.messages[0].sender == "+358201234567"


def test_an_edited_and_a_deleted_message_are_versions_of_the_first():
    (edited,), (deleted,) = facts_of(EDIT).messages, facts_of(REVOKE).messages
    assert (edited.ident, edited.change, edited.text) == (
        "wamid.1",
        MessageChange.EDITED,
        "En tilaa",
    )
    assert (deleted.ident, deleted.change, deleted.text) == (
        "wamid.1",
        MessageChange.DELETED,
        "",
    )
    assert edited.changed_at == datetime(2026, 11, 22, 10, 10, 5, tzinfo=UTC)


@pytest.mark.parametrize("kind", ["edit", "revoke"])
def test_a_change_of_nobody_knows_what_is_a_message_that_says_so(kind):
    (message,) = facts_of({**TEXT, "type": kind, kind: {}}).messages
    assert (message.ident, message.change) == ("wamid.1", None)


@pytest.mark.parametrize(
    "sha256",
    [
        base64.b64encode(hashlib.sha256(SOUND).digest()).decode(),
        hashlib.sha256(SOUND).hexdigest().upper(),
    ],
    ids=["base64", "hexadecimal"],
)
def test_a_file_is_to_be_fetched_and_has_to_have_its_hash(sha256):
    (file,) = facts_of(voice(sha256=sha256)).recordings
    assert file.url == "https://graph.example.com/v23.0/1003383421387256"
    assert (file.name, file.content_type) == ("1003383421387256.ogg", "audio/ogg")
    assert (file.sha256, file.is_described) == (hashlib.sha256(SOUND).hexdigest(), True)


@pytest.mark.parametrize("sha256", [None, "", "x" * 64, "AAAA", 7])
def test_a_hash_that_is_none_is_not_compared_with(sha256):
    (file,) = facts_of(voice(sha256=sha256)).recordings
    assert file.sha256 is None


@pytest.mark.parametrize("media", ["", "../../x", "a/b", "1?x=y", None, "1" * 129])
def test_what_is_no_id_of_a_file_is_not_asked_for(media):
    assert facts_of(voice(id=media)).recordings == ()


def test_without_the_address_of_the_interface_nothing_is_fetched():
    facts = facts_of(voice(), rule=SourceRule())
    assert (facts.recordings, facts.messages[0].text) == ((), "[audio]")


@pytest.mark.parametrize(
    ("kind", "inner", "text"),
    [
        ("image", {"caption": "Mittari", "id": "1"}, "[image] Mittari"),
        ("document", {"filename": "lasku.pdf", "id": "1"}, "[document] lasku.pdf"),
        ("sticker", {"id": "1"}, "[sticker]"),
        ("location", {"latitude": 60.17, "longitude": 24.94}, "[location] 60.17 24.94"),
        ("contacts", [{"name": {}}], "[contacts]"),
        ("button", {"text": "Kyllä", "payload": "yes"}, "Kyllä"),
        ("button", {"payload": "yes"}, "yes"),
        (
            "interactive",
            {"type": "button_reply", "button_reply": {"id": "1", "title": "Hyväksyn"}},
            "[interactive] Hyväksyn",
        ),
        ("interactive", {"type": "nfm_reply"}, "[interactive]"),
        ("reaction", {"message_id": "wamid.1", "emoji": "👍"}, "[reaction] 👍 wamid.1"),
        ("reaction", {"message_id": "wamid.1"}, "[reaction] wamid.1"),
        ("order", {"text": "2 kpl"}, "[order] 2 kpl"),
        (
            "order",
            {
                "text": "Kiitos",
                "product_items": [
                    {
                        "product_retailer_id": "sopimus-24",
                        "quantity": 1,
                        "item_price": 7.9,
                        "currency": "EUR",
                    },
                    "x",
                ],
            },
            "[order] Kiitos\n1 sopimus-24 7.9 EUR",
        ),
        (
            "contacts",
            [
                {
                    "name": {"formatted_name": "Maija Meikäläinen"},
                    "phones": [{"phone": "+358 40 123 4567"}, {"phone": 5}],
                    "emails": [{"email": "maija@example.com"}],
                },
                None,
            ],
            "[contacts]\nMaija Meikäläinen +358 40 123 4567 5 maija@example.com",
        ),
        ("system", {"body": "Maija vaihtoi numeroa"}, "[system] Maija vaihtoi numeroa"),
        ("unsupported", {}, "[unsupported]"),
        ("", {}, "[unsupported]"),
        ("text", {}, ""),
    ],
)
def test_every_kind_of_message_can_be_read(kind, inner, text):
    (message,) = facts_of({**TEXT, "type": kind, kind: inner}).messages
    assert message.text == text


def test_a_forwarded_message_says_so():
    (message,) = facts_of({**TEXT, "context": {"forwarded": True}}).messages
    assert message.text == "[forwarded]\nTilaan sopimuksen"


@pytest.mark.parametrize(
    "told",
    [
        request_of(value_of({**TEXT, "errors": [{"code": 131051}]})),
        request_of(value_of(errors=[{"code": 130429}])),
    ],
)
def test_what_went_wrong_there_is_put_before_a_person(told):
    assert understand(told).remarks == ("source_reported_error",)


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (b"[]", "object"),
        ({"object": "page", "entry": []}, "object"),
        (request_of(value_of({**TEXT, "timestamp": "soon"})), "timestamp"),
        (request_of(value_of({**TEXT, "timestamp": True})), "timestamp"),
        (request_of(value_of({**TEXT, "id": ""})), "id"),
        (request_of(value_of({**TEXT, "from": None})), "from"),
        (request_of(value_of(*[TEXT] * (MAX_MESSAGES + 1))), "more than"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(told, what):
    with pytest.raises(InvalidInputError, match=what):
        understand(told)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*TEXT, "body", "audio", "context", "edit", "message"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from([*TEXT, "audio", "edit", "context", "errors"]), VALUES),
    st.dictionaries(st.sampled_from(["metadata", "contacts", "errors"]), VALUES),
    st.sampled_from([TEXT, EDIT, REVOKE, voice()]),
)
def test_whatever_stands_where_is_understood_or_refused(changes, around, message):
    try:
        understood = understand(request_of(value_of({**message, **changes}, **around)))
    except InvalidInputError:
        return
    for facts in understood.contacts:
        assert facts.can_begin


def test_an_answer_says_to_which_message_it_is():
    context = {"from": "358401234567", "id": "wamid.ABC"}
    (message,) = facts_of({**TEXT, "context": context}).messages
    assert message.text.startswith("[answers wamid.ABC]\n")
