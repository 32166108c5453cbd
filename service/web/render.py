"""Turns a template and its values into a response, in the visitor's language."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import aiohttp_jinja2
import jinja2
from aiohttp import web

from service.domain.contact import Channel, Direction, RecordingState
from service.domain.times import format_time
from service.http.frame import NOW
from service.web import viewmodels
from service.web.assets import Assets, load_assets
from service.web.formats import Formats
from service.web.i18n import Words, choose_language, load_words
from service.web.unseen import mark_unseen
from service.web.visitor import Visitor, visitor_of
from service.web.waveform import LANE_HEIGHT

LANGUAGE_COOKIE: Final = "language"
_SPEEDS: Final = (0.75, 1, 1.25, 1.5, 1.75, 2)


@dataclass(frozen=True, slots=True)
class Press:
    """What renders the pages: words and formats by language, the assets, and the archive's time zone and region.

    ``languages`` are those that the pages offer, in this order; the first is for whoever wants none of them.
    """

    languages: tuple[str, ...]

    words: Mapping[str, Words]
    formats: Mapping[str, Formats]
    assets: Assets
    timezone: ZoneInfo
    region: str


PRESS: web.AppKey[Press] = web.AppKey("press", Press)


def set_up_press(
    app: web.Application, *, timezone: str, region: str, languages: Sequence[str]
) -> None:
    """Make ``app`` able to render pages, with times in ``timezone`` and national numbers of ``region``."""
    zone = ZoneInfo(timezone)
    app[PRESS] = Press(
        languages=tuple(languages),
        words={language: load_words(language) for language in languages},
        formats={language: Formats(language, zone) for language in languages},
        assets=load_assets(),
        timezone=zone,
        region=region,
    )
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.PackageLoader("service.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        default_helpers=False,
    )
    environment.filters["seen"] = mark_unseen
    environment.filters["grouped"] = viewmodels.grouped
    environment.filters["in_order"] = viewmodels.parties_in_order


def language_of(request: web.Request) -> str:
    """Return the language that the visitor chose, or that their browser prefers."""
    return choose_language(
        request.cookies.get(LANGUAGE_COOKIE),
        request.headers.get("Accept-Language", ""),
        offered=request.config_dict[PRESS].languages,
    )


async def render(
    request: web.Request, template: str, values: Mapping[str, Any], *, status: int = 200
) -> web.Response:
    """Return a page; whoever sends it adds the headers that every page has."""
    language = language_of(request)
    visitor = await visitor_of(request)
    context = {**_surroundings(request, language, visitor), **values}
    response = aiohttp_jinja2.render_template(template, request, context, status=status)
    response.headers["Content-Language"] = language
    response.headers["Vary"] = "Accept-Language, Cookie"
    return response


def _surroundings(request: web.Request, language: str, visitor: Visitor) -> dict[str, Any]:
    """Return what every template can use."""
    press = request.config_dict[PRESS]
    words, formats = press.words[language], press.formats[language]
    return {
        "t": words.text,
        "n": words.count,
        "f": formats,
        "words": words.messages,
        "now": request[NOW].replace(microsecond=0),
        "advice": partial(viewmodels.advice_words, words=words),
        "known": partial(viewmodels.known_words, messages=words.messages),
        "check_words": partial(viewmodels.check_words, words=words),
        "reasons": partial(viewmodels.reason_words, words=words),
        "field_names": partial(viewmodels.field_names, words=words),
        "link_reasons": partial(viewmodels.link_reason_words, words=words),
        "by_month": partial(viewmodels.by_month, formats=formats),
        "occupied": partial(viewmodels.occupied, formats=formats),
        "recording_facts": partial(viewmodels.recording_facts, words=words, formats=formats),
        "iso": lambda at: format_time(at.astimezone(UTC)),
        "asset": press.assets.address,
        "may": visitor.may,
        "visitor": visitor,
        "language": language,
        "languages": press.languages,
        "language_names": {
            code: press.words[code].text("language.name") for code in press.languages
        },
        "path": request.path_qs if request.method == "GET" else "",
        "section": "",
        "notice": None,
        "channels": tuple(Channel),
        "directions": tuple(Direction),
        "recording_states": tuple(RecordingState),
        "lane_height": LANE_HEIGHT,
        "speeds": _SPEEDS,
        "no_time": timedelta(0),
    }
