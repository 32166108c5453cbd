"""Where a visitor may be sent within these pages."""

import re

_MAX_CHARACTERS = 2000
# One slash and then neither slash nor backslash: browsers read both of "//host" and "/\host" as another host.
_OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x7e]*")


def own_place(place: str | None) -> str:
    """Return ``place`` when it is a path of these pages, else the start page."""
    if place and len(place) <= _MAX_CHARACTERS and _OWN_PATH.fullmatch(place):
        return place
    return "/"
