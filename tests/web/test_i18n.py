import re
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from service.archive import expect
from service.archive.checks import AnchorKind, Code
from service.archive.fetch_faults import FETCH_REASONS
from service.archive.mail_records import NO_MAIL
from service.connecting import replaying
from service.domain.contact import (
    NOT_PLAYED,
    PLAYED,
    SCALARS,
    Channel,
    Direction,
    MessageChange,
    PartyRole,
    RecordingState,
)
from service.domain.customer import Certainty, LinkState
from service.domain.purpose import Purpose
from service.domain.retention import Ground
from service.intake import refusals
from service.sources.mail.facts import Flag
from service.sources.mail.verdicts import Outcome, Reason, SpfResult
from service.web.i18n import LANGUAGES, choose_language, load_words
from service.web.mail_views import _headers
from service.web.problem_pages import LOOKS
from service.web.searchform import FIELDS, BoxKind
from service.web.undertaking import OURS
from service.web.views import CheckOutcome, IntegrityState
from service.worker.media.facts import MediaFlag

WEB = Path(__file__).parents[2] / "service" / "web"
WORDS = {language: load_words(language) for language in LANGUAGES}
PLACEHOLDER = re.compile(r"\{(\w+)\}")

VERDICT_WORDS = {
    *("author", "other", "partial", "invalid", "unchecked", "waiting", "problem"),
    *(f"chain_{one}" for one in Outcome),
    *(f"spf_{one}" for one in set(SpfResult) - {SpfResult.NOT_APPLICABLE}),
}

# Keys that templates and code put together, by the values that can follow.
COMPOSED = {
    "channel.{}": Channel,
    "direction.{}": Direction,
    "party.{}": PartyRole,
    "recording.state.{}": RecordingState,
    "recording.lead.{}": set(RecordingState) - {RecordingState.PRESENT},
    "purpose.{}": Purpose,
    "notice.{}": (PLAYED, NOT_PLAYED),
    "undertaking.text.{}": range(1, OURS + 1),
    "erasure.ground.{}": Ground,
    "purpose.{}.lead": Purpose,
    "links.state.{}": LinkState,
    "links.certainty.{}": Certainty,
    "anchor.{}": AnchorKind,
    "integrity.{}": IntegrityState,
    "integrity.{}.lead": IntegrityState,
    "check.passed.{}": Code,
    "check.failed.{}": Code,
    "check.unknown.{}": Code,
    "check.waiting.{}": (Code.LOG_ENTRY, Code.ANCHORED),
    "check.{}": {CheckOutcome.UNKNOWN, CheckOutcome.WAITING},
    "check.outcome.{}": CheckOutcome,
    "search.as.{}": BoxKind,
    "search.example.{}": BoxKind,
    "search.wrong.{}": {*BoxKind, *FIELDS} - {"text", "as", "cursor"},
    "fact.{}": {*SCALARS, "recording_pauses", *BoxKind, *FIELDS} - {"text", "as", "cursor"},
    "media.{}": MediaFlag,
    "messages.title.{}": Channel,
    "messages.{}": MessageChange,
    "lane.{}": {*PartyRole, "first", "second", "more", "all"},
    "openings.what.{}": {"recording", "message", "mail", "attachment"},
    "mail.flag.{}": set(Flag) - {Flag.SIGNED},
    "mail.fact.{}": {*(fact for fact, _ in _headers(NO_MAIL)), "received_at", "claimed"},
    "mail.verdict.{}": VERDICT_WORDS,
    "mail.reason.{}": Reason,
    "error.{}.title": LOOKS,
    "error.{}.lead": LOOKS,
    "source.refused.{}": {refusals.UNSIGNED, refusals.SIGNATURE, refusals.SECRET},
    "replay.{}": {replaying.RUNNING, replaying.DONE},
    "lost.{}": {expect.CAUSE, *FETCH_REASONS},
}
# Words for codes of others, shown as they are where there are none.
KNOWN = (
    "matched.",
    "not_recorded.",
    "outcome.",
    "attention.reason.",
    "attention.advice.",
    "messages.fault.",
    "met.",
    "delivery.",
    "pause.reason.",
)


def keys_of(template: str) -> set[str]:
    return set(re.findall(r"\b[tn]\('([a-z_.]+[a-z_])'", template))


def every_key() -> set[str]:
    text = "\n".join(p.read_text() for p in (WEB / "templates").iterdir())
    code = "\n".join(p.read_text() for p in WEB.glob("*.py"))
    literal = set(re.findall(r"[\"']([a-z_]+(?:\.[a-z_]+)+)[\"']", text + code))
    composed = {key.format(value) for key, values in COMPOSED.items() for value in values}
    return (literal | composed) & set(WORDS["en"].messages)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_catalogue_has_every_key_in_the_same_form(language):
    def shapes(words):
        return {key: type(value) for key, value in words.messages.items()}

    assert shapes(WORDS[language]) == shapes(WORDS["en"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_translation_is_missing_fuzzy_or_given_twice(language):
    path = WEB / "locale" / f"{language}.po"
    with path.open("rb") as file:
        catalogue = [message for message in read_po(file, locale=language) if message.id]
    for message in catalogue:
        forms = [message.string] if isinstance(message.string, str) else message.string
        assert all(forms), message.id
        assert not message.fuzzy
    assert len(catalogue) == len(re.findall(r'^msgid "[^"]', path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_placeholders_of_the_english_words(language):
    for key, words in WORDS["en"].messages.items():
        for ours, theirs in zip(
            forms_of(WORDS[language].messages[key]), forms_of(words), strict=True
        ):
            assert set(PLACEHOLDER.findall(ours)) == set(PLACEHOLDER.findall(theirs)), key


def forms_of(words):
    return (words,) if isinstance(words, str) else words


def test_every_key_that_a_template_names_has_words():
    for path in (WEB / "templates").iterdir():
        assert keys_of(path.read_text()) <= set(WORDS["en"].messages), path.name


@pytest.mark.parametrize("key", COMPOSED)
def test_every_key_that_is_put_together_has_words(key):
    missing = {key.format(value) for value in COMPOSED[key]} - set(WORDS["en"].messages)
    assert not missing


def test_every_key_with_words_is_used():
    unused = {
        key for key in set(WORDS["en"].messages) - every_key() if not key.startswith(KNOWN)
    }
    assert not unused


def test_words_hold_no_markup():
    for words in WORDS.values():
        for text in words.messages.values():
            assert not re.search(r"[<>]|&\w+;", "".join(forms_of(text)))


@pytest.mark.parametrize(
    ("chosen", "accepted", "expected"),
    [
        ("en", "fi", "en"),
        ("tlh", "sv-FI,sv;q=0.9", "sv"),
        (None, "", "fi"),
        (None, "en-GB,en;q=0.9,fi;q=0.1", "en"),
        (None, "de, en;q=0.4, fi;q=0.8", "fi"),
        (None, "en;q=0", "fi"),
        (None, "en;q=nonsense, *", "fi"),
        (None, "," * 9000, "fi"),
        (None, "../../etc/passwd", "fi"),
    ],
)
def test_a_choice_wins_over_the_browser_and_finnish_over_nothing(chosen, accepted, expected):
    assert choose_language(chosen, accepted) == expected


def test_a_count_takes_its_form():
    assert WORDS["fi"].count("messages.count", 1) == "1 viesti"
    assert WORDS["fi"].count("messages.count", 0) == "0 viestiä"
    assert WORDS["en"].count("messages.count", 2) == "2 messages"


def test_a_missing_key_is_an_error():
    with pytest.raises(KeyError):
        WORDS["fi"].text("no.such.key")
