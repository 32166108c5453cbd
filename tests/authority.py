"""A timestamp authority of the test's own: certificates and answers made by ``openssl ts``."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from service.log.timestamp import Trust

POLICY = "1.3.6.1.4.1.99999.1"
_CONFIG = """[tsa]
default_tsa = authority
[authority]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
certs = ca.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = {policy}
digests = sha256
accuracy = secs:1
tsa_name = yes
ess_cert_id_alg = sha256
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass
class Authority:
    """Keys and certificates in ``directory``; ``usage`` is what its certificate is for."""

    directory: Path
    usage: str = "critical,timeStamping"
    name: str = "Example Time"
    is_up: bool = True
    asked: int = 0

    def __post_init__(self):
        self.directory.mkdir()
        (self.directory / "tsa.cnf").write_text(_CONFIG.format(policy=POLICY))
        (self.directory / "serial").write_text("01\n")
        (self.directory / "extensions").write_text(
            f"extendedKeyUsage={self.usage}\nkeyUsage=critical,digitalSignature\n"
        )
        subject = "/O=Example/CN="
        self._run(
            "req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30",
            "-subj", f"{subject}{self.name} Root",
        )  # fmt: skip
        self._run(
            "req",
            *_KEY,
            "-keyout",
            "tsa.key",
            "-out",
            "tsa.csr",
            "-subj",
            f"{subject}{self.name}",
        )
        self._run(
            "x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "20",
            "-CAcreateserial", "-extfile", "extensions", "-out", "tsa.pem",
        )  # fmt: skip

    @property
    def certificates(self):
        return self.directory / "ca.pem"

    @property
    def trust(self):
        return Trust.parse(self.certificates.read_bytes())

    def answer(self, request):
        """Return the authority's answer to a request."""
        (self.directory / "query").write_bytes(request)
        self._run("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply")
        return (self.directory / "reply").read_bytes()

    def forge(self, answer):
        """Return what another authority stamped, signed by this one in spite of what its certificate is for."""
        (self.directory / "other").write_bytes(answer)
        self._run("ts", "-reply", "-in", "other", "-token_out", "-out", "token")
        self._run(
            "cms", "-verify", "-noverify", "-inform", "DER", "-in", "token", "-out", "content"
        )
        self._run(
            "cms", "-sign", "-binary", "-nodetach", "-in", "content", "-outform", "DER",
            "-econtent_type", "1.2.840.113549.1.9.16.1.4", "-signer", "tsa.pem",
            "-inkey", "tsa.key", "-out", "forged",
        )  # fmt: skip
        inner = b"\x30\x03\x02\x01\x00" + (self.directory / "forged").read_bytes()
        return b"\x30\x82" + len(inner).to_bytes(2, "big") + inner

    def _run(self, *arguments):
        subprocess.run(
            ["openssl", *arguments], cwd=self.directory, check=True, capture_output=True
        )

    def server(self):
        """Return a server on loopback that answers as the authority; 503 while it is down."""

        async def stamp(request):
            self.asked += 1
            if not self.is_up:
                return web.Response(status=503)
            assert request.content_type == "application/timestamp-query"
            answer = self.answer(await request.read())
            return web.Response(body=answer, content_type="application/timestamp-reply")

        app = web.Application()
        app.router.add_post("/", stamp)
        return TestServer(app)
