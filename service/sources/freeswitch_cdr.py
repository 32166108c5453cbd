"""A call record of FreeSWITCH, from JSON or from XML: one leg's variables and its call flow."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import unquote_to_bytes

from service.domain.errors import InvalidInputError
from service.sources.freeswitch_bodies import unwrap
from service.sources.freeswitch_salvage import salvage_callflow, salvage_variables
from service.sources.freeswitch_xml import Path, read_leaves
from service.sources.strict_json import decode_json

Texts = Mapping[str, str]
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
# All of them are encoded where values are; a record that has none of them raw has no local time either.
_NEVER_RAW: Final = re.compile(r'[ "<>]')


@dataclass(frozen=True, slots=True)
class Flow:
    """One turn of the call flow: who was to be reached, by whom, and when (µs since 1970; "0" is never).

    ``originator`` is the profile of the leg that made this one, empty for the first leg of a call.
    """

    profile: Texts = field(default_factory=dict)
    originator: Texts = field(default_factory=dict)
    times: Texts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cdr:
    """What a record tells of one leg. ``flows``: the newest first. ``is_damaged``: some of it had to be salvaged."""

    variables: Texts
    flows: tuple[Flow, ...] = ()
    is_damaged: bool = False

    def get(self, *names: str) -> str:
        """Return the first of the variables ``names`` that tells something; nothing when none does."""
        return next((value for name in names if (value := self.variables.get(name))), "")


def decode_cdr(body: bytes) -> Cdr:
    """Return the record that was posted as ``body``, with its values in the clear.

    What is not UTF-8 is read as ISO 8859-1, and JSON that no reader reads is salvaged; both count as damaged.

    Raises:
        InvalidInputError: There is no record in it, or nothing of it can be read.
    """
    text, is_whole = _decoded(unwrap(body))
    document = text.encode()
    cdr = _from_xml(document) if text.startswith("<") else _from_json(document)
    if not cdr.variables:
        raise InvalidInputError("the call record has no variables")
    if cdr.is_damaged:
        return cdr
    return replace(_in_the_clear(cdr), is_damaged=not is_whole)


def _decoded(data: bytes) -> tuple[str, bool]:
    try:
        return data.decode(), True
    except UnicodeDecodeError:
        return data.decode("iso-8859-1"), False


def _in_the_clear(cdr: Cdr) -> Cdr:
    """Return the record with its variables percent-decoded, if they were encoded by themselves (``encode-values``)."""
    values = cdr.variables.values()
    if any(map(_NEVER_RAW.search, values)) or not any(map(_ESCAPE.search, values)):
        return cdr
    clear = {
        name: _decoded(unquote_to_bytes(value))[0] if "%" in value else value
        for name, value in cdr.variables.items()
    }
    return replace(cdr, variables=clear)


def _from_json(document: bytes) -> Cdr:
    try:
        value = decode_json(document)
    except InvalidInputError:
        salvaged = _salvaged(document.decode())
        if not salvaged.variables:
            raise
        return salvaged
    members = _members(value)
    return Cdr(_texts(members.get("variables")), _flows(members))


def _salvaged(text: str) -> Cdr:
    callflow = salvage_callflow(text)
    flows: tuple[Flow, ...] = ()
    if callflow is not None:
        try:
            flows = _flows(_members(decode_json(callflow.encode())))
        except InvalidInputError:
            # It is damaged too. What matters is among the variables as well.
            flows = ()
    return Cdr(salvage_variables(text), flows, is_damaged=True)


def _flows(members: Mapping[str, object]) -> tuple[Flow, ...]:
    callflow = members.get("callflow")
    return tuple(_flow(_members(one)) for one in callflow) if isinstance(callflow, list) else ()


def _flow(members: Mapping[str, object]) -> Flow:
    profile = _members(members.get("caller_profile"))
    made_by = _members(profile.get("originator")).get("originator_caller_profiles")
    first = made_by[0] if isinstance(made_by, list) and made_by else None
    return Flow(_texts(profile), _texts(first), _texts(members.get("times")))


def _members(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> Texts:
    """Return the members that are texts. FreeSWITCH writes numbers as texts too."""
    return {name: one for name, one in _members(value).items() if isinstance(one, str)}


_PROFILE: Final = ("cdr", "callflow", "caller_profile")
_ORIGINATOR: Final = (*_PROFILE, "originator", "originator_caller_profile")
_TIMES: Final = ("cdr", "callflow", "times")


def _from_xml(document: bytes) -> Cdr:
    """Return the record in an XML document. One that has a variable twice, with other values, is damaged."""
    variables: dict[str, str] = {}
    doubtful: set[str] = set()
    leaves = read_leaves(document)
    for (*path, name), text in leaves:
        if path == ["cdr", "variables"] and variables.setdefault(name, text) != text:
            doubtful.add(name)
    certain = {name: value for name, value in variables.items() if name not in doubtful}
    cdr = Cdr(certain, _xml_flows(leaves))
    return replace(_in_the_clear(cdr), is_damaged=True) if doubtful else cdr


def _xml_flows(leaves: Sequence[tuple[Path, str]]) -> tuple[Flow, ...]:
    """Return the turns of the call flow. The times are the last of each."""
    flows: list[Flow] = []
    parts: dict[Path, dict[str, str]] = {_PROFILE: {}, _ORIGINATOR: {}, _TIMES: {}}

    def close() -> None:
        flows.append(Flow(*(dict(parts[place]) for place in (_PROFILE, _ORIGINATOR, _TIMES))))
        for part in parts.values():
            part.clear()

    for path, text in leaves:
        place = path[:-1]
        if place not in parts:
            continue
        if parts[_TIMES] and place != _TIMES:
            close()
        # The first of several originators is the one that made the leg.
        parts[place].setdefault(path[-1], text)
    if any(parts.values()):
        close()
    return tuple(flows)
