"""Every page: its method, path, handler and what it needs."""

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from service.domain.permission import Permission
from service.http.routes import SESSION_ONLY, TOKEN_ONLY, Need, Route
from service.web import (
    account_pages,
    attention_pages,
    completeness_pages,
    contact_pages,
    disposal_pages,
    door_pages,
    search_pages,
    source_pages,
    start_pages,
)
from service.web.account_pages import ACCOUNT
from service.web.app_keys import DESK, DISPOSALS, DOOR, Door
from service.web.desk import Desk
from service.web.disposal_desk import Disposals
from service.web.render import PRESS, set_up_press
from service.web.source_events import set_up_streams, stream_events

_P = Permission


def page_routes() -> tuple[Route, ...]:
    """Return the routes of the pages. The application needs ``set_up_pages``."""
    contact = "/contacts/{contact_id}"
    hold, erasure = "/holds/{hold_id}", "/erasures/{erasure_id}"
    invite = "/first-password/{invite}"
    return (
        # Without credentials, so that nobody waits for a session to be looked up.
        Route(
            method="GET",
            path="/static/{name}",
            handler=show_asset,
            needs=Need.PUBLIC,
            accepts=TOKEN_ONLY,
        ),
        _page("GET", "/language/{language}", door_pages.choose_language, Need.PUBLIC),
        _page("GET", "/sign-in", door_pages.show_sign_in, Need.PUBLIC),
        _page("POST", "/sign-in", door_pages.sign_in, Need.PUBLIC),
        _page("POST", "/sign-in/code", door_pages.enter_code, Need.PUBLIC),
        _page("POST", "/sign-in/undertaking", door_pages.give_undertaking, Need.PUBLIC),
        _page("POST", "/sign-in/second-factor", door_pages.enrol, Need.PUBLIC),
        _page("GET", invite, door_pages.show_first_password, Need.PUBLIC),
        _page("POST", invite, door_pages.set_first_password, Need.PUBLIC),
        _page("POST", "/sign-out", door_pages.sign_out, Need.SIGNED_IN),
        *_account_routes(),
        _page("GET", "/", start_pages.show_start, Need.SIGNED_IN),
        _page("GET", "/verification", start_pages.find_verification, _P.VERIFY),
        _page("GET", "/search", search_pages.show_search, _P.LOOK_UP),
        _page("GET", "/customers/{customer_id}", search_pages.show_customer, _P.LOOK_UP),
        _page("GET", contact, contact_pages.show_contact, _P.READ_CONTACT),
        _page("GET", f"{contact}/verification", contact_pages.show_verification, _P.VERIFY),
        _page(
            "GET",
            f"{contact}/messages/{{message_id}}",
            contact_pages.show_mail,
            _P.READ_CONTACT,
        ),
        _page("POST", f"{contact}/grants", contact_pages.add_grant, _P.GRANT),
        _page("POST", f"{contact}/unmasked", contact_pages.show_unmasked, _P.UNMASK),
        _page("POST", f"{contact}/links", contact_pages.decide_link, _P.LINK),
        _page("POST", "/grants/{grant_id}/withdraw", contact_pages.withdraw_grant, _P.GRANT),
        _page("POST", f"{contact}/holds", disposal_pages.place_hold, _P.HOLD),
        _page("POST", f"{hold}/release-request", disposal_pages.request_release, _P.HOLD),
        _page("POST", f"{hold}/release", disposal_pages.release, _P.RELEASE_HOLD),
        _page("POST", f"{contact}/erasures", disposal_pages.request_erasure, _P.ERASE),
        _page("POST", f"{erasure}/approve", disposal_pages.approve_erasure, _P.ERASE),
        _page("POST", f"{erasure}/withdraw", disposal_pages.withdraw_erasure, _P.ERASE),
        _page(
            "GET", "/completeness", completeness_pages.show_completeness, _P.READ_COMPLETENESS
        ),
        *_source_routes(),
        _page("GET", "/attention", attention_pages.show_attention, _P.READ_ATTENTION),
        _page("POST", "/attention/{item_id}/retry", attention_pages.retry, _P.SETTLE_ATTENTION),
        _page(
            "POST", "/attention/{item_id}/settle", attention_pages.settle, _P.SETTLE_ATTENTION
        ),
    )


def _account_routes() -> tuple[Route, ...]:
    needs, factor = Need.SIGNED_IN, f"{ACCOUNT}/second-factor"
    return (
        _page("GET", ACCOUNT, account_pages.show_account, needs),
        _page("POST", factor, account_pages.begin_second_factor, needs),
        _page("POST", f"{factor}/set", account_pages.set_second_factor, needs),
        _page("POST", f"{factor}/remove", account_pages.remove_second_factor, needs),
        _page("POST", f"{ACCOUNT}/recovery-codes", account_pages.renew_codes, needs),
        _page("POST", f"{ACCOUNT}/sessions", account_pages.end_other_sessions, needs),
    )


def _source_routes() -> tuple[Route, ...]:
    source, needs = "/sources/{name}", _P.MANAGE_SOURCES
    return (
        _page("GET", "/sources", source_pages.show_sources, needs),
        _page("POST", "/sources", source_pages.add_source, needs),
        _page("GET", source, source_pages.show_source, needs),
        _page("GET", f"{source}/deliveries", source_pages.show_deliveries, needs),
        _page("GET", f"{source}/events", stream_events, needs),
        _page("POST", f"{source}/secret", source_pages.change_secret, needs),
        _page("POST", f"{source}/live", source_pages.go_live, needs),
        _page("POST", f"{source}/replay", source_pages.replay, needs),
        _page("POST", f"{source}/map", source_pages.map_fields, needs),
        _page("POST", f"{source}/remove", source_pages.remove, needs),
    )


def set_up_pages(
    app: web.Application,
    *,
    desk: Desk,
    disposals: Disposals,
    door: Door,
    timezone: str,
    region: str,
    languages: Sequence[str],
) -> None:
    """Give ``app`` what the pages need; times are shown in ``timezone``, national numbers read as of ``region``.

    The pages offer ``languages`` in this order, and speak the first to whoever wants none of them.
    """
    app[DESK], app[DISPOSALS], app[DOOR] = desk, disposals, door
    set_up_streams(app)
    set_up_press(app, timezone=timezone, region=region, languages=languages)


async def show_asset(request: web.Request) -> web.Response:
    """``GET /static/{name}``: one of the pages' own files."""
    return request.config_dict[PRESS].assets.response(request)


def _page(method: str, path: str, handler: Handler, needs: Permission | Need) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        needs=needs,
        accepts=SESSION_ONLY,
        is_page=True,
    )
