"""QR codes (ISO/IEC 18004) in pages."""

import segno
from markupsafe import Markup

_PIXELS_EACH = 5


def qr_code(text: str) -> Markup:
    """Return ``text`` as a QR code in SVG, dark on light as cameras need it, for a page that describes it in words."""
    drawn = segno.make_qr(text, error="m")
    svg = drawn.svg_inline(
        scale=_PIXELS_EACH, border=4, light="#fff", svgclass="qr", lineclass=None
    )
    return Markup(svg)  # noqa: S704  # made of squares alone: nothing of the text is in it
