"""Deliveries of each kind of source, as large as those of the real systems, for what it costs to understand one."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from service.crypto.jws import JwsSigner, encode_base64url
from service.sources.asterisk_ari import HeardEvent
from service.sources.events import SourceRule
from service.sources.requests import received_request
from service.sources.vcon.rule import VconRule
from service.sources.vcon.signature import Anchors

_A, _B = "0a000000-0000-4000-8000-000000000001", "0b000000-0000-4000-8000-000000000002"


def contact_json() -> Mapping[str, bytes]:
    """Return the archive's own contact JSON, by the kind of the delivery."""
    told = {
        "source_id": _A,
        "channel": "call",
        "direction": "inbound",
        "started_at": "2026-11-22T12:08:04+02:00",
        "ended_at": "2026-11-22T12:08:13+02:00",
        "queue": "Asiakaspalvelu",
        "parties": [
            {"role": "customer", "phone": "+358401234567", "name": "Matti"},
            {"role": "agent", "agent_id": "1001"},
        ],
        "recording": "expected",
    }
    return {"contact": json.dumps(told).encode()}


def rtpengine() -> Mapping[str, bytes]:
    """Return what rtpengine writes beside the capture of a call."""
    sdp = "".join(f"a=fmtp:{n} x={n}\n" for n in range(30))
    block = "Timestamp started ms: 1795340448731.926\nSDP mode: offer\nSDP before RTP packet: 1\n\nv=0\n"
    text = (
        f"/var/spool/rtpengine/pcaps/{_A}-0123456789abcdef.pcap\n\n\n{block}{sdp}\n{block}{sdp}\n"
        "Timestamp terminated ms(first monologue): 1795340458246.092\n\n"
        "call start time: 2026-11-22T09:40:48\ncall end time: 2026-11-22T09:40:59\n\n\n"
        "from:+358401234567|to:0201234567|queue:Asiakaspalvelu|agent:17\n"
    )
    request = received_request("POST", "/intake/sip", [], text.encode())
    return {"request": request.encode()}


def freeswitch() -> Mapping[str, bytes]:
    """Return a record of mod_json_cdr: the leg of an agent, with as many variables as one has."""
    told = {
        "direction": "outbound",
        "uuid": _B,
        "call_uuid": _A,
        "sip_full_from": '"Matti" <sip:+358401234567@192.0.2.1>;tag=1',
        "queue_name": "Asiakaspalvelu",
        "start_stamp": "2026-11-22 12:08:04",
        "start_uepoch": "1795342084182529",
        "answer_uepoch": "1795342084222529",
        "end_uepoch": "1795342093782535",
        "record_seconds": "7",
        **{f"rtp_audio_in_statistics_{n}": f"sofia/lab/{n}@192.0.2.1:5060" for n in range(180)},
    }
    caller = {
        "caller_id_name": "Matti",
        "caller_id_number": "+358401234567",
        "destination_number": "0201234567",
        "uuid": _A,
    }
    profile = {
        **caller,
        "destination_number": "1001",
        "uuid": _B,
        "originator": {"originator_caller_profiles": [caller]},
    }
    flow = {"caller_profile": profile, "times": {"created_time": "1795342084182529"}}
    body = json.dumps({"variables": told, "app_log": {}, "callflow": [flow]}).encode()
    target = f"/intake/switch?uuid={_B}"
    return {"request": received_request("POST", target, (), body).encode()}


def siprec() -> Mapping[str, bytes]:
    """Return the body of an INVITE: SDP and metadata of a session between two."""
    ident = "Xk9pVPpVEeiTMTUl8hpsaA=="
    who = "".join(
        f'<participant participant_id="p{n}"><nameID aor="{aor}"><name>{name}</name></nameID></participant>'
        f'<stream stream_id="s{n}" session_id="{ident}"><label>{n}</label></stream>'
        f'<participantsessionassoc participant_id="p{n}" session_id="{ident}">'
        "<associate-time>2026-11-22T11:47:51+02:00</associate-time></participantsessionassoc>"
        f'<participantstreamassoc participant_id="p{n}"><send>s{n}</send></participantstreamassoc>'
        for n, aor, name in (
            (1, "sip:+358401234567@sbc.example.com", "Matti"),
            (2, "sip:1001@pbx.example.com", "Anna"),
        )
    )
    body = (
        "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\na=label:1\r\na=sendonly\r\n--b\r\n"
        "Content-Type: application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n\r\n"
        '<recording xmlns="urn:ietf:params:xml:ns:recording:1"><datamode>complete</datamode>'
        f'<session session_id="{ident}"><start-time>2026-11-22T11:47:51+02:00</start-time></session>'
        f"{who}</recording>\r\n--b--\r\n"
    )
    headers = [(b"Content-Type", b"multipart/mixed; boundary=b")]
    return {"request": received_request("POST", "/intake/rec", headers, body.encode()).encode()}


def asterisk() -> Mapping[str, bytes]:
    """Return a row of cdr_csv, the same as an event of the manager, and a recording as ARI tells of it."""
    row = (
        '"service","+358401234567","0201234567","default","""Matti"" <+358401234567>","PJSIP/trunk-00000000",'
        '"PJSIP/anna-00000001","Dial","PJSIP/anna,20,g","2026-11-22 11:47:25","2026-11-22 11:47:25",'
        '"2026-11-22 11:47:35",10,9,"ANSWERED","DOCUMENTATION","1795340845.0","queue=viat","","1795340845.0",0\n'
    )
    event = (
        "Event: Cdr\r\nSource: +358401234567\r\nDestination: 0201234567\r\nDestinationChannel: PJSIP/anna-00000001\r\n"
        "StartTime: 2026-11-22 11:47:25\r\nAnswerTime: 2026-11-22 11:47:25\r\nEndTime: 2026-11-22 11:47:35\r\n"
        "Disposition: ANSWERED\r\nUniqueID: 1795340845.0\r\nlinkedid: 1795340845.0\r\n"
    )
    posted = received_request("POST", "/intake/pbx", (), row.encode()).encode()
    told = {
        "type": "RecordingFinished",
        "timestamp": "2026-11-22T11:47:58.027+0200",
        "recording": {"name": "a-1795340845.0", "format": "wav", "state": "done"},
    }
    heard = HeardEvent(linkedid="1795340845.0", text=json.dumps(told).encode())
    return {
        "request": posted,
        "event": event.encode(),
        "ari": msgspec.msgpack.encode(heard),
    }


def genesys() -> Mapping[str, bytes]:
    """Return the metadata of a recording, as they lay in the folder of their conversation."""
    told = {
        "mediaType": "Call",
        "provider": "Edge",
        "userIds": [_B],
        "conversationId": _A,
        "recordingId": _B,
        "initialDirection": "inbound",
        "startTime": "2026-11-22T09:47:25.873+0000",
        "endTime": "2026-11-22T09:51:30.493+0000",
        "durationMs": 244620,
        "ani": "tel:+358401234567",
        "dnis": "tel:+358201234567",
        "queueIds": [_B],
    }
    target = f"/intake/cloud?conversation={_A}&recording={_B}.opus"
    body = json.dumps(told).encode()
    return {"request": received_request("POST", target, (), body).encode()}


def twilio() -> Mapping[str, bytes]:
    """Return the call-back of a call that is over."""
    told = {
        "CallSid": f"CA{'0' * 32}",
        "AccountSid": f"AC{'0' * 32}",
        "From": "+358401234567",
        "To": "+358201234567",
        "Direction": "inbound",
        "CallStatus": "completed",
        "Timestamp": "Sun, 22 Nov 2026 10:09:00 +0000",
        "CallDuration": "60",
        **{f"{end}{part}": "" for end in ("From", "To") for part in ("City", "State", "Zip")},
    }
    return {
        "request": received_request(
            "POST", "/intake/cloud", (), urlencode(told).encode()
        ).encode()
    }


def cloudevents() -> Mapping[str, bytes]:
    """Return the archive's own contact JSON in the headers of an event."""
    headers = {
        "specversion": "1.0",
        "id": _B,
        "source": "/phones",
        "type": "org.example.contact",
    }
    told = [(f"ce-{name}".encode(), value.encode()) for name, value in headers.items()]
    told.append((b"content-type", b"application/json"))
    body = contact_json()["contact"]
    return {"request": received_request("POST", "/intake/bus", told, body).encode()}


def chatwoot() -> Mapping[str, bytes]:
    """Return a message of a customer, as a webhook tells it and as it is listed."""
    customer = {"id": 41, "name": "Maija Meikäläinen", "phone_number": "+358401234567"}
    told = {
        "event": "message_created",
        "id": 900,
        "content": "Hei, laskussani on jotain outoa. Voitteko katsoa?",
        "message_type": "incoming",
        "private": False,
        "created_at": "2026-11-22T10:09:05.000Z",
        "sender": customer,
        "inbox": {"id": 3, "name": "Verkkochat"},
        "conversation": {
            "id": 112,
            "channel": "Channel::WebWidget",
            "meta": {"sender": customer},
        },
    }
    conversation = {"id": 112, "meta": {"sender": customer, "channel": "Channel::WebWidget"}}
    listed = {
        "id": 900,
        "content": told["content"],
        "message_type": 0,
        "private": False,
        "created_at": 1795342145,
        "sender": customer,
    }
    body = {"conversation": conversation, "payload": [listed]}
    return {**_posted("chat", told), "listed": json.dumps(body).encode()}


def whatsapp() -> Mapping[str, bytes]:
    """Return a message of a customer."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "358201234567", "phone_number_id": "106540"},
        "contacts": [{"profile": {"name": "Maija"}, "wa_id": "358401234567"}],
        "messages": [
            {
                "from": "358401234567",
                "id": "wamid.1",
                "timestamp": "1795342145",
                "type": "text",
                "text": {"body": "Hei, laskussani on jotain outoa. Voitteko katsoa?"},
            }
        ],
    }
    change = {"value": value, "field": "messages"}
    told = {"object": "whatsapp_business_account", "entry": [{"id": "0", "changes": [change]}]}
    return _posted("whatsapp", told)


def _posted(source: str, told: Mapping[str, object]) -> Mapping[str, bytes]:
    body = json.dumps(told).encode()
    return {"request": received_request("POST", f"/intake/{source}", (), body).encode()}


def zendesk() -> Mapping[str, bytes]:
    """Return a comment as a trigger sends it."""
    told = {
        "ticket_id": "5158",
        "channel": "Web form",
        "subject": "Lasku",
        "queue": "Laskutus",
        "status": "Open",
        "at": "2026-11-22T10:30Z",
        "requester_id": "41",
        "requester_name": "Maija Meikäläinen",
        "requester_email": "maija@example.fi",
        "requester_phone": "+358401234567",
        "comment_id": "901",
        "comment_text": "Sain laskun kahdesti, ja toisessa on väärä osoite. " * 8,
        "comment_public": "true",
        "author_id": "41",
        "author_name": "Maija Meikäläinen",
        "author_role": "End-user",
    }
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    body = urlencode(told).encode()
    return {"request": received_request("POST", "/intake/tickets", headers, body).encode()}


def signed_vcon() -> tuple[bytes, SourceRule]:
    """Return a vCon with a recording of 256 KiB, signed (RS256), and the rule of a source that trusts its signer."""
    told = {
        "vcon": "0.4.0",
        "uuid": _A,
        "created_at": "2026-11-22T12:09:00+02:00",
        "parties": [{"tel": "tel:+358401234567", "name": "Matti"}, {"tel": "+358201234567"}],
        "dialog": [
            {
                "type": "recording",
                "start": "2026-11-22T12:08:04+02:00",
                "duration": 16.4,
                "parties": [[0], [1]],
                "mediatype": "audio/wav",
                "filename": "a.wav",
                "encoding": "base64url",
                "body": encode_base64url(bytes(range(256)) * 1024).decode(),
            }
        ],
    }
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example Platform")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    stream = JwsSigner(key, (certificate,)).begin(_A)
    body = stream.update(json.dumps(told).encode()) + stream.finish()
    return body, SourceRule(vcon=VconRule(anchors=Anchors((certificate,))))


DELIVERIES: Final[Mapping[str, Callable[[], Mapping[str, bytes]]]] = {
    "api": contact_json,
    "freeswitch": freeswitch,
    "asterisk": asterisk,
    "rtpengine": rtpengine,
    "siprec": siprec,
    "genesys": genesys,
    "twilio": twilio,
    "cloudevents": cloudevents,
    "chatwoot": chatwoot,
    "whatsapp": whatsapp,
    "zendesk": zendesk,
}
"""What each kind delivers. Every kind with adapters has its own, and so a row of its own."""
