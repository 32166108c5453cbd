"""In formatted text, numbers are hidden however elements and entities divide them, and nothing else changes."""

import html
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.masking import mask_text
from service.sources.mail.markup import sanitise
from service.sources.mail.mask import mask_markup


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("<p>4111 1111 1111 1111.</p>", "<p>•••• 1111.</p>"),
        ("<p>nro 4111&nbsp;1111&nbsp;1111&nbsp;1111!</p>", "<p>nro •••• 1111!</p>"),
        ("<p>4111 <b>1111</b> 1111 1111</p>", "<p>•••• 1111<b></b></p>"),
        ("<b>4111</b><i> 1111 1111 1111</i> ok", "<b>•••• 1111</b><i></i> ok"),
        ("4111 1111<br>1111 1111", "•••• 1111<br>"),
        ("<p>131052<i>-928T</i>:n</p>", "<p>••••••-••••<i></i>:n</p>"),
        ("<p>&#52;111 1111 1111 1111</p>", "<p>•••• 1111</p>"),
        (
            "<p>a 4111111111111111 b 5555555555554444 c</p>",
            "<p>a •••• 1111 b •••• 4444 c</p>",
        ),
        ("<p>Hei &amp; moi &lt;b&gt; 1 &lt; 2</p>", "<p>Hei &amp; moi &lt;b&gt; 1 &lt; 2</p>"),
        ('<td colspan="2">4111</td><td>1111 1111 1111</td>', None),
        ("<p>4111 1111</p><p>1111 1111</p>", None),
        ("", None),
    ],
)
def test_what_is_read_as_a_number_is_hidden(markup, shown):
    masked = mask_markup(markup)
    assert masked.text == (markup if shown is None else shown)
    assert bool(masked.hidden) == ("•" in masked.text)


PIECES = [
    "4111",
    "1111",
    " ",
    "&nbsp;",
    "-",
    "<b>",
    "</b>",
    "<br>",
    "<p>",
    "</p>",
    "&amp;",
    "x",
]


def read(markup):
    """Return what a person reads, with the edges of paragraphs far apart."""
    text = re.sub("</?p>", "\n\n\n\n", markup).replace("<br>", "\n")
    return html.unescape(re.sub("<[^>]*>", "", text))


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_what_is_hidden_is_what_is_hidden_in_the_text(markup):
    masked = mask_markup(markup)
    assert masked.hidden == mask_text(read(markup)).hidden
    elements = re.compile(r"<[^>]*>")
    assert elements.findall(masked.text) == elements.findall(markup)


@settings(max_examples=150)
@given(st.text(max_size=120))
def test_what_was_made_safe_stays_safe(text):
    safe = sanitise(text)
    masked = mask_markup(safe)
    assert sanitise(masked.text).split() == masked.text.split()
    if not masked.hidden:
        assert masked.text == safe


@pytest.mark.parametrize("piece", ["4111&nbsp;", "<b>4</b>", "4111111111111111 ", "&amp;"])
def test_formatted_text_that_is_built_to_hurt_takes_a_moment(piece):
    begun = time.process_time()
    mask_markup(piece * (200_000 // len(piece)))
    assert time.process_time() - begun < 3
