"""What FreeSWITCH posts, taken out of its encodings, and what is no record."""

import time

import pytest

from service.domain.errors import InvalidInputError
from service.sources.freeswitch_bodies import unwrap
from service.sources.freeswitch_cdr import decode_cdr
from service.sources.freeswitch_salvage import salvage_variables
from service.sources.freeswitch_xml import MAX_DEPTH, read_leaves
from tests.freeswitch import (
    as_json,
    as_xml,
    encoded,
    form,
    packed,
    record,
    sample,
    variables,
    with_encoded_values,
)


def xml(inside):
    return f"<cdr><variables>{inside}</variables></cdr>".encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"cdr=", id="nothing in it"),
        pytest.param(b"cdr=%", id="half an escape"),
        pytest.param(b"cdr=%41%42", id="an encoded text"),
        pytest.param(b"cdr=QUJD", id="a text in base64"),
        pytest.param(b"cdr=eyJ2", id="base64 that is cut"),
        pytest.param(b"cdr=!!!", id="not base64"),
        pytest.param(b"name=value", id="another form"),
        pytest.param(b"RIFF\x00\x00\x00\x00WAVE", id="a recording"),
        pytest.param(as_json(record()).encode("utf-16"), id="UTF-16"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="no variables"),
        pytest.param(b'{"variables":[]}', id="variables that are none"),
        pytest.param(b'{"variables":{"uuid":1}}', id="a number for a text"),
        pytest.param(b'{"a":' * 100_000, id="100 000 levels of JSON"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, id="65 levels of JSON"),
        pytest.param(b'{"a":NaN}', id="a number that is none"),
        pytest.param(b'{"a":' + b"9" * 10_000 + b"}", id="a number of 10 000 digits"),
        pytest.param(b"<cdr></cdr>", id="XML without variables"),
        pytest.param(b"<cdr>", id="XML that is cut"),
        pytest.param(xml("<a>1</b>"), id="XML that does not close"),
        pytest.param(xml("<a>&x;</a>"), id="an entity that nobody declared"),
        pytest.param(xml("<a>\x01</a>"), id="a control character in XML"),
        pytest.param(b"<cdr/>" * 2, id="two roots"),
        pytest.param(b"<a>" * 100_000, id="100 000 levels of XML"),
        pytest.param(b"<a>" * MAX_DEPTH + b"<b/>" + b"</a>" * MAX_DEPTH, id="33 levels"),
        pytest.param(b"<!DOCTYPE cdr><cdr/>", id="a document type"),
    ],
)
def test_what_is_no_record_is_refused_at_once(body):
    begun = time.process_time()
    with pytest.raises(InvalidInputError) as refused:
        decode_cdr(body)
    assert refused.value.detail
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param('<!ENTITY x SYSTEM "file:///etc/passwd">', id="a file"),
        pytest.param('<!ENTITY x SYSTEM "http://127.0.0.1/">', id="an address"),
        pytest.param('<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;', id="a parameter"),
        pytest.param(
            '<!ENTITY a "ha">'
            + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)),
            id="a billion laughs",
        ),
        pytest.param("<!ELEMENT cdr ANY>", id="elements alone"),
    ],
)
def test_xml_that_declares_something_is_refused(declared):
    document = f"<!DOCTYPE cdr [{declared}]>".encode() + xml("<uuid>&x;</uuid>")
    for body in (
        document,
        b"cdr=" + document,
        form(document.decode()),
        packed(document.decode()),
    ):
        with pytest.raises(InvalidInputError, match="document type or entities"):
            decode_cdr(body)


def test_xml_is_read_to_its_depth_and_no_further():
    def nested(levels):
        return b"<a>" * (levels - 1) + b"<b>1</b>" + b"</a>" * (levels - 1)

    assert read_leaves(nested(MAX_DEPTH))[0][1] == "1"
    with pytest.raises(InvalidInputError, match="32 XML elements"):
        read_leaves(nested(MAX_DEPTH + 1))


def test_each_turn_of_a_call_flow_is_told_apart():
    flows = [
        {"destination_number": "5000", "uuid": "1"},
        {"destination_number": "020", "uuid": "2"},
    ]
    told = record(variables(), *flows)
    assert decode_cdr(as_xml(told).encode()).flows == decode_cdr(as_json(told).encode()).flows


def test_references_to_characters_and_the_five_entities_are_read():
    leaves = read_leaves(b"<a><b>&#228; &amp; &lt;&gt;&quot;&apos;</b><c/><![CDATA[<d>]]></a>")
    assert leaves == [(("a", "b"), "ä & <>\"'"), (("a", "c"), "")]


def test_the_parameter_is_found_among_others():
    for body in (b"uuid=1&cdr={}", b"uuid=1&leg=a&cdr=%7B%7D&more=1", b"cdr=e30=", b"e30%3D"):
        assert unwrap(body) == b"{}"


# -- values that are encoded by themselves


@pytest.mark.parametrize("value", ["a%20b", "%", "100%", "%2B358", "%zz", "", "+358 ä"])
def test_values_come_back_whether_they_were_encoded_or_not(value):
    told = record(note=value)
    for one in (told, with_encoded_values(told)):
        assert decode_cdr(as_json(one).encode()).get("note") == value
    assert decode_cdr(as_xml(told).encode()).get("note") == value


def test_an_encoded_value_that_is_not_utf_8_is_read_as_iso_8859_1():
    told = with_encoded_values(record())
    told["variables"]["note"] = "M%E4kel%E4"
    assert decode_cdr(as_json(told).encode()).get("note") == "Mäkelä"


# -- salvage


def test_every_variable_of_a_damaged_record_is_saved():
    told = record(sip_from_display='Matti "M"', note='a","b c":"d', multi="x\r\ny")
    body = form(as_json(with_encoded_values(told)))
    cdr = decode_cdr(body)
    assert cdr.is_damaged
    assert cdr.variables == told["variables"]
    assert cdr.flows[0].profile["caller_id_number"] == "+358401234567"


def test_what_was_captured_damaged_has_every_variable_that_its_json_would_have():
    _, _, damaged = sample("encode-form", "001")
    _, _, whole = sample("encode-base64", "001")
    saved, told = decode_cdr(damaged), decode_cdr(whole)
    assert saved.is_damaged
    assert not told.is_damaged
    # The call that was captured undamaged was another, made the same way.
    assert set(told.variables) - set(saved.variables) <= {"call_uuid"}
    assert saved.get("sip_full_from").startswith('"Matti" <sip:+358401234567@')
    assert saved.get("switch_r_sdp") == told.get("switch_r_sdp")
    assert saved.flows[0].originator["destination_number"] == "0201234567"


def test_a_name_that_is_there_twice_with_other_values_is_left_out():
    assert salvage_variables(
        '{"variables":{"a":"1","b":"2","a":"3","b":"2"},"app_log":{}}'
    ) == {"b": "2"}
    twice = xml("<a>1</a><b>2</b><a>3</a>")
    cdr = decode_cdr(twice)
    assert (cdr.variables, cdr.is_damaged) == ({"b": "2"}, True)
    again = b'{"variables":{"a":"1","b":"2","a":"3"}}'
    assert decode_cdr(again).variables == {"b": "2"}


@pytest.mark.parametrize("cut", [3, 50, 400])
def test_a_record_that_is_cut_short_is_saved_as_far_as_it_goes(cut):
    text = as_json(record())
    saved = decode_cdr(text[: len(text) - cut].encode())
    assert saved.is_damaged
    assert set(saved.variables) <= set(variables())
    assert saved.get("uuid") == variables()["uuid"]


def test_salvage_takes_time_in_proportion_to_the_text():
    begun = time.process_time()
    for text in ('","' * 300_000, '"a":"' * 200_000, '{"variables":{' * 70_000):
        salvage_variables('{"variables":{' + text)
    assert time.process_time() - begun < 2


def test_our_encoder_is_the_one_of_the_captures():
    _, _, body = sample("encode-form", "007")
    start = encoded(
        '<?xml version="1.0"?>\n<cdr core-uuid="66035f32-9b70-4548-b4d6-a65fd2b05722"'
    )
    assert body.startswith(b"cdr=" + start.encode())
