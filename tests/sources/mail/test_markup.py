"""Formatted text is shown without anything that runs, loads, sends or leads elsewhere."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.sources.mail.markup import UnsafeError, sanitise, text_of_html

ATTACKS = [
    "<script>alert(1)</script>x",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>x</script></svg>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href=' java\tscript:alert(1)'>x</a>",
    "<iframe src='https://example.org'></iframe>",
    "<form action='https://example.org'><input name=a><button>x</button></form>",
    "<style>@import 'https://example.org/x.css'</style>",
    "<p style='background:url(https://example.org/x)'>x</p>",
    "<link rel=stylesheet href=https://example.org>",
    "<meta http-equiv=refresh content='0;https://example.org'>",
    "<base href='https://example.org'>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<object data=x></object><embed src=x><video src=x></video><audio src=x>",
    "<p id=x class=y onclick=alert(1) data-x=1 autofocus>x</p>",
    "<template><script>x</script></template>",
    "<!--[if gte mso 9]><script>x</script><![endif]-->",
    "<details open ontoggle=alert(1)>",
    '"><script>alert(1)</script>',
    "<a href='https://example.org/\"><script>x</script>'>y</a>",
]
ALLOWED = re.compile(r'</?[a-z0-9]+(?: (?:col|row)span="[0-9]*")*>')


@pytest.mark.parametrize("markup", ATTACKS)
def test_nothing_of_an_attack_is_left(markup):
    safe = sanitise(markup)
    tags = re.findall(r"<[^>]*>", safe)
    assert all(ALLOWED.fullmatch(tag) for tag in tags), safe
    assert not re.search(r"<(script|img|svg|iframe|form|input|style|link|meta|base|a)\b", safe)


def test_a_link_is_written_out_and_leads_nowhere():
    safe = sanitise('<a href="https://evil.example/login">https://bank.example</a>')
    assert safe == (
        "<span>https://bank.example</span> <small>⟨https://evil.example/login⟩</small>"
    )


def test_an_address_that_is_its_own_text_is_written_once():
    assert (
        sanitise('<a href="mailto:a@example.org">a@example.org</a>')
        == "<span>a@example.org</span>"
    )


def test_marks_that_turn_text_around_are_left_out():
    assert sanitise("<p>a\u202eb&#8238;</p>") == "<p>ab</p>"


def test_tables_and_emphasis_stay():
    markup = '<table><tbody><tr><td colspan="2"><b>Lasku</b></td></tr></tbody></table>'
    assert sanitise(markup) == markup


def test_pictures_inside_the_text_do_not_count():
    markup = "<p>x<img src='data:image/png;base64," + "QUJD" * 1_000_000 + "'>y</p>"
    assert sanitise(markup) == "<p>xy</p>"


@pytest.mark.parametrize(
    "markup",
    [
        pytest.param("<div>" * 20_000, id="too deep"),
        pytest.param("<div>" * 200 + "x" + "</div>" * 200, id="deeper than is shown"),
        pytest.param("x" * 3_000_000, id="too large"),
        pytest.param("<p " + "a=1 " * 6000 + ">", id="too many attributes"),
    ],
)
def test_what_would_cost_too_much_is_refused(markup):
    with pytest.raises(UnsafeError):
        sanitise(markup)


@given(markup=st.text(alphabet="<>/ab=\"'&;! \n-sciptyle", max_size=200))
@settings(max_examples=150, deadline=None)
def test_cleaning_again_changes_nothing_that_is_shown(markup):
    safe = sanitise(markup)
    assert all(ALLOWED.fullmatch(tag) for tag in re.findall(r"<[^>]*>", safe))
    assert sanitise(safe) == safe


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("a<br>b", "a\nb"),
        ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
        ("a &lt;b&gt; &amp; c", "a <b> & c"),
        ("<style>x</style>a  \n  b", "a b"),
        ("<td>1</td><td>2</td>", "12"),
        ("<table><tr><td>1</td><td>2</td></tr></table>", "1 2"),
    ],
)
def test_formatted_text_is_made_plain(markup, text):
    assert text_of_html(markup) == text
