"""The pages' own style sheet, scripts and pictures, read once at start and served from memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from service.domain.errors import NotFoundError

_DIRECTORY = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_A_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file; ``version`` changes when its bytes do."""

    body: bytes
    content_type: str
    version: str


@dataclass(frozen=True, slots=True)
class Assets:
    """All of them, by file name."""

    files: Mapping[str, Asset]

    def address(self, name: str) -> str:
        """Return the address of a file. It names the version, so browsers may keep the file for ever."""
        return f"/static/{name}?v={self.files[name].version}"

    def response(self, request: web.Request) -> web.Response:
        """Return the file that ``request`` names.

        Raises:
            NotFoundError: There is no such file.
        """
        asset = self.files.get(request.match_info["name"])
        if asset is None:
            raise NotFoundError("no such asset")
        kept = _A_YEAR if request.query.get("v") == asset.version else "no-cache"
        return web.Response(
            body=asset.body,
            content_type=asset.content_type,
            charset="utf-8",
            headers={"Cache-Control": kept},
        )


def load_assets() -> Assets:
    """Return every file of the folder ``static``."""
    files = {}
    for path in sorted(_DIRECTORY.iterdir()):
        if path.suffix in _TYPES:
            body = path.read_bytes()
            version = hashlib.sha256(body).hexdigest()[:16]
            files[path.name] = Asset(body, _TYPES[path.suffix], version)
    return Assets(files)
