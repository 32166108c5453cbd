"""Call records as FreeSWITCH writes them, invented, in every encoding that its modules have."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

A, B = "0a000000-0000-4000-8000-000000000001", "0b000000-0000-4000-8000-000000000002"
START, ANSWER, END = 1795342084182529, 1795342084222529, 1795342093782535
SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "samples" / "freeswitch"

# What mod_json_cdr and mod_xml_cdr never leave as it is.
_UNSAFE = frozenset('\r\n #%&+:;<=>?@[\\]^`{|}"')


def variables(**changes: str | None) -> dict[str, str]:
    """Return the variables of a first leg: Matti calls, the agent answers, it is recorded."""
    told = {
        "direction": "inbound",
        "uuid": A,
        "channel_name": "sofia/lab/+358401234567@192.0.2.1:5080",
        "sip_full_from": '"Matti" <sip:+358401234567@192.0.2.1:5080>;tag=1',
        "switch_r_sdp": "v=0\r\ns=-\r\n",
        "call_uuid": A,
        "queue_name": "sähkökatko",
        "caller_id": '"Matti" <+358401234567>',
        "start_stamp": "2026-11-22 12:08:04",
        "start_uepoch": str(START),
        "answer_uepoch": str(ANSWER),
        "end_uepoch": str(END),
        "record_seconds": "7",
        "hangup_cause": "NORMAL_CLEARING",
        **changes,
    }
    return {name: value for name, value in told.items() if value is not None}


def profile(**changes: Any) -> dict[str, Any]:
    """Return the caller profile of the first leg."""
    return {
        "caller_id_name": "Matti",
        "caller_id_number": "+358401234567",
        "destination_number": "0201234567",
        "uuid": A,
        **changes,
    }


def record(
    told: Mapping[str, str] | None = None, *flows: Mapping[str, Any], **changes: str | None
) -> dict[str, Any]:
    """Return a record of ``told``, or of a first leg with ``changes``; its flow is that of the first leg."""
    return {
        "core-uuid": "c0",
        "variables": dict(variables(**changes) if told is None else told),
        "app_log": {"applications": []},
        "callflow": [
            {"caller_profile": dict(one), "times": {"transfer_time": "0"}}
            for one in flows or (profile(),)
        ],
    }


def further(number: str = "1001", **changes: str | None) -> dict[str, Any]:
    """Return the record of a leg that the first one made."""
    told = variables(
        direction="outbound",
        uuid=B,
        originating_leg_uuid=A,
        queue_name=None,
        record_seconds=None,
    )
    made = profile(
        destination_number=number,
        uuid=B,
        originator={"originator_caller_profiles": [profile()]},
    )
    merged = {**told, **changes}
    return record({name: one for name, one in merged.items() if one is not None}, made)


def encoded(text: str, *, is_double: bool = True) -> str:
    """Percent-encode as FreeSWITCH does; unless ``is_double``, what looks encoded stays as it is."""
    out = []
    for place, sign in enumerate(text):
        is_escape = sign == "%" and not is_double and _is_hex(text[place + 1 : place + 3])
        if is_escape or (sign not in _UNSAFE and " " < sign < "\x7f"):
            out.append(sign)
        else:
            out += [f"%{byte:02X}" for byte in sign.encode()]
    return "".join(out)


def _is_hex(text: str) -> bool:
    return len(text) == 2 and all(sign in "0123456789ABCDEF" for sign in text)


def with_encoded_values(told: Mapping[str, Any]) -> dict[str, Any]:
    """Encode each variable (``encode-values``)."""
    return {**told, "variables": {n: encoded(v) for n, v in told["variables"].items()}}


def as_json(told: Mapping[str, Any]) -> str:
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def as_xml(told: Mapping[str, Any]) -> str:
    """Write a record as mod_xml_cdr does: variables are always encoded."""
    inside = "".join(f"<{n}>{encoded(v)}</{n}>" for n, v in told["variables"].items())
    flows = "".join(
        f'<callflow dialplan="XML">{_xml_profile("caller_profile", flow["caller_profile"])}'
        f"<times>{_xml_members(flow['times'])}</times></callflow>"
        for flow in told["callflow"]
    )
    return (
        '<?xml version="1.0"?>\n<cdr core-uuid="c0"><channel_data><direction>x</direction></channel_data>'
        f"<variables>{inside}</variables><app_log></app_log>{flows}</cdr>"
    )


def _xml_profile(name: str, told: Mapping[str, Any]) -> str:
    plain = {n: v for n, v in told.items() if isinstance(v, str)}
    made_by = told.get("originator", {}).get("originator_caller_profiles", ())
    inner = "".join(_xml_profile("originator_caller_profile", one) for one in made_by)
    wrapped = f"<originator>{inner}</originator>" if inner else ""
    return f"<{name}>{_xml_members(plain)}{wrapped}</{name}>"


def _xml_members(told: Mapping[str, str]) -> str:
    return "".join(f"<{n}>{escape(v)}</{n}>" for n, v in told.items())


def form(document: str, *, is_double: bool = False) -> bytes:
    return b"cdr=" + encoded(document, is_double=is_double).encode()


def packed(document: str) -> bytes:
    return b"cdr=" + base64.b64encode(document.encode())


def sample(folder: str, number: str) -> tuple[str, str, bytes]:
    """Return a captured request: method, target, body."""
    head = SAMPLES / folder / f"{number}.head"
    if not head.exists():
        pytest.skip("the captured requests are absent")
    method, target, _ = head.read_text().split(" ", 2)
    return method, target, head.with_suffix(".body").read_bytes()
