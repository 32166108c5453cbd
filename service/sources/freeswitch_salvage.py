"""What can be saved of a JSON call record that FreeSWITCH itself damaged.

With ``encode-values`` (its default) and ``encode`` both on, mod_json_cdr percent-encodes each value and then the
document, but leaves what looks encoded as it is. One decoding undoes both: values then have raw quotes and line ends
in them, so that ``"sip_full_from":""Matti" <sip:…>"`` is no JSON for any reader.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

_BEGIN: Final = '"variables":{'
# Members that FreeSWITCH writes after the variables.
_AFTER: Final = re.compile(r'"\},"(?:app_log|callflow)":')
# A value ends where the next member begins: at a quote, a comma, and a name as variables have them.
_MEMBER: Final = re.compile(r'(?:\A|",)"([A-Za-z0-9_.\-]{1,128})":"')


def salvage_variables(text: str) -> Mapping[str, str]:
    """Return the variables that the damaged ``text`` still tells; none when there is no beginning of them.

    A name that is there twice with different values is left out: a display name could have been made to look like it.
    """
    begin = text.find(_BEGIN)
    if begin < 0:
        return {}
    region = text[begin + len(_BEGIN) :]
    after = _AFTER.search(region)
    region = region[: after.start()] if after else region.rstrip('"}]\r\n ')
    found: dict[str, str] = {}
    doubtful: set[str] = set()
    for name, value in _members(region):
        if found.setdefault(name, value) != value:
            doubtful.add(name)
    return {name: value for name, value in found.items() if name not in doubtful}


def _members(region: str) -> Iterator[tuple[str, str]]:
    matches = list(_MEMBER.finditer(region))
    ends = [match.start() for match in matches[1:]]
    for match, end in zip(matches, [*ends, len(region)], strict=False):
        yield match[1], region[match.end() : end]


def salvage_callflow(text: str) -> str | None:
    """Return the document that holds the damaged ``text``'s call flow alone; None when there is none.

    The values of the call flow are not encoded by themselves, so that it is whole where the variables are not.
    """
    begin = text.rfind('"callflow":[')
    return None if begin < 0 else "{" + text[begin:]
