"""Metadata of SIPREC as vendors write it, of people who were invented."""

from datetime import UTC, datetime

from service.sources.events import SourceRule
from service.sources.requests import received_request
from service.sources.siprec import understand_siprec

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RULE = SourceRule(company_numbers=frozenset({"+358201234567"}))
XML = "application/rs-metadata+xml"
ID = "Xk9pVPpVEeiTMTUl8hpsaA=="
ALICE, BOB = "sip:+358401234567@sbc.example.com", "sip:1001@pbx.example.com"
START, STOP = "2026-11-22T11:47:51+02:00", "2026-11-22T11:52:00+02:00"


def rfc(*, ident=ID, start=START, stop=None, mode="complete", people=None, more=""):
    """Return a document as RFC 7865 has it, with those who take part listed after their streams."""
    people = [("p1", ALICE, "Aino"), ("p2", BOB, "Anna")] if people is None else people
    ended = f"<stop-time>{stop}</stop-time>" if stop else ""
    began = f"<start-time>{start}</start-time>" if start else ""
    streams = "".join(
        f'<stream stream_id="s{n}" session_id="{ident}"><label>{n}</label></stream>'
        for n, _ in enumerate(people)
    )
    who = "".join(
        f'<participant participant_id="{p}">'
        f'<nameID aor="{aor}"><name xml:lang="fi">{name}</name></nameID></participant>'
        for p, aor, name in people
    )
    joins = "".join(
        f'<participantsessionassoc participant_id="{p}" session_id="{ident}">'
        f"<associate-time>2026-11-22T11:47:5{n + 1}+02:00</associate-time></participantsessionassoc>"
        f'<participantstreamassoc participant_id="{p}"><send>s{n}</send></participantstreamassoc>'
        for n, (p, _, _) in enumerate(people)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<recording xmlns="urn:ietf:params:xml:ns:recording:1">'
        f"<datamode>{mode}</datamode>"
        f'<session session_id="{ident}"><sipSessionID>ab30317f1a784dc48ff824d0d3715d86;'
        f"remote=47755a9de7794ba387653f2099600ef2</sipSessionID>{began}{ended}</session>"
        f"{streams}{who}{joins}{more}</recording>"
    )


ACME = f"""<?xml version='1.0' encoding='UTF-8'?>
<recording xmlns='urn:ietf:params:xml:ns:recording'>
  <datamode>complete</datamode>
  <session id="{ID}">
    <associate-time>{START}</associate-time>
    <extensiondata xmlns:apkt="http://acmepacket.com/siprec/extensiondata">
      <apkt:ucid>00FA080018803B69810C6D;encoding=hex</apkt:ucid>
    </extensiondata>
  </session>
  <participant id="pb==" session="{ID}">
    <nameID aor="sip:1001@10.0.0.2"><name></name></nameID>
    <send>sb==</send>
    <extensiondata xmlns:apkt="http://acmepacket.com/siprec/extensiondata">
      <apkt:callingParty>false</apkt:callingParty>
    </extensiondata>
  </participant>
  <participant id="pa==" session="{ID}">
    <nameID aor="sip:+358401234567@10.0.0.1"><name>Aino</name></nameID>
    <send>sa==</send>
    <extensiondata xmlns:apkt="http://acmepacket.com/siprec/extensiondata">
      <apkt:callingParty>true</apkt:callingParty>
    </extensiondata>
  </participant>
  <stream id="sa==" session="{ID}"><label>1</label></stream>
</recording>"""

SONUS = f"""<tns:recording xmlns:tns="urn:ietf:params:xml:ns:recording">
  <tns:datamode>complete</tns:datamode>
  <tns:session session_id="{ID}"><tns:start-time>{START}</tns:start-time></tns:session>
  <tns:participant participant_id="b"><tns:nameID aor="1001"><tns:name> </tns:name></tns:nameID></tns:participant>
  <tns:participant participant_id="a"><tns:nameID aor="+358401234567"/></tns:participant>
  <tns:sessionExtensionData><callData>
    <fromhdr>"Aino" &lt;sip:+358401234567@sbc.example.com&gt;;tag=1</fromhdr>
    <tohdr>&lt;sip:1001@sbc.example.com&gt;</tohdr>
    <callid>1-2@192.0.2.1</callid><gcid>4711</gcid>
  </callData></tns:sessionExtensionData>
</tns:recording>"""

UUID = "6b8a1c2e-0000-4000-8000-0000000000aa"


def broadworks(half):
    """Return a document of BroadWorks or Webex: of who called (``origCall``), or of who was called (``termCall``)."""
    return f"""<?xml version="1.0"?>
<recording_metadata xmlns="urn:ietf:params:xml:ns:siprec">
  <dataMode>complete</dataMode>
  <session id="urn:uuid:{UUID.upper()}"><start-time>{START}</start-time></session>
  <participant id="urn:uuid:b" session="urn:uuid:{UUID}">
    <nameID><aor>sip:+358505550000@as.example.com</aor><name>Pekka</name></nameID></participant>
  <participant id="urn:uuid:a" session="urn:uuid:{UUID}">
    <nameID><aor>sip:+358401234567@as.example.com;user=phone</aor><name>Aino</name></nameID></participant>
  <extensiondata id="urn:uuid:e" parent="urn:uuid:{UUID}">
    <broadWorksRecordingMetadata xmlns="http://schema.broadsoft.com/broadworksCallRecording">
      <extTrackingID>34876:1</extTrackingID><callID>callhalf-1:0</callID>
      <callType><{half}>
        <callingPartyNumber>+358401234567</callingPartyNumber>
        <calledPartyNumber>+358505550000</calledPartyNumber>
      </{half}></callType>
    </broadWorksRecordingMetadata>
  </extensiondata>
</recording_metadata>"""


def mixed(*parts, boundary="foobar"):
    """Return the body of an INVITE with ``parts`` (media type, text)."""
    told = "".join(
        f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Disposition: recording-session\r\n\r\n{text}\r\n"
        for kind, text in parts
    )
    return f"{told}--{boundary}--\r\n".encode()


SDP = ("application/sdp", "v=0\r\no=SRC 1 1 IN IP4 192.0.2.1\r\ns=-\r\na=label:1\r\na=sendonly")


def understood(body, *, kind=XML, rule=RULE):
    body = body.encode() if isinstance(body, str) else body
    request = received_request("POST", "/intake/rec", [(b"Content-Type", kind.encode())], body)
    return understand_siprec(request.encode(), rule, NOW)


def told(body, **more):
    (facts,) = understood(body, **more).contacts
    return facts
