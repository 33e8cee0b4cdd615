"""One HTTP exchange with Immich: it ends in a bounded answer, or in a failure told in our own words.

aiohttp's exceptions can carry the request's headers, and so the key: none of them leaves this module, not even
as the context of another exception.
"""

import os
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import aiohttp
import orjson
from pydantic import SecretStr
from yarl import URL

from autotagger.errors import AssetFailed, AutotaggerError, BadConfig, Retryable, ServerRefused
from autotagger.immich.address import api_root
from autotagger.immich.pacing import Clock
from autotagger.immich.proxy_headers import read_proxy_headers
from autotagger.settings import ImmichSettings

#: Immich closes idle connections after 5 s; one that we let go earlier is never found reset.
_KEEPALIVE_S = 4.0
#: The largest honest answer (a page of 1,000 assets) is under 1 MB.
_JSON_BYTES = 64 << 20
_MAX_REDIRECTS = 3
#: Stands where the API key stood.
HIDDEN = "[API key]"
_PICTURES = "image/*,*/*;q=0.5"
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
#: An exchange that still moves may take this many read timeouts in all; a drip of bytes must end some time.
_TOTAL_READS = 5


class Trouble(Retryable):
    """The server, or the way to it, failed just now: the client tries again by itself."""


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is below the API's root. `about` names the asset (or assets) that may be to blame for a failure.

    `keyed`: whether the key is sent; not where it is not needed, so that a wrong address does not get it.
    `max_bytes`: a larger answer is not read to its end. `picture`: the answer is to be a picture, not JSON.
    `part`: its first and last byte, where not all is wanted; the server may send all of it.
    """

    name: str
    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    about: str | None = None
    keyed: bool = True
    picture: bool = False
    max_bytes: int = _JSON_BYTES
    part: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """`first_byte_s`: seconds from the request to the answer's headers."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_byte_s: float


class Transport:
    """A pool of kept-alive connections to one Immich. An async context manager."""

    def __init__(self, settings: ImmichSettings, key: SecretStr, *, clock: Clock = time.monotonic) -> None:
        """Raises BadConfig for an unusable address, key, header or certificate."""
        self.api = api_root(settings.base_url)
        self._settings, self._key, self._clock = settings, key, clock
        self._tls = _tls_context(settings)
        self._proxy_headers = read_proxy_headers(settings.headers)
        self._session: aiohttp.ClientSession | None = None
        secret = key.get_secret_value()
        self._secrets = {HIDDEN: secret, **{f"[{name}]": value for name, value in self._proxy_headers.items()}}
        if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
            raise BadConfig("the API key holds characters that no Immich key has: copy it again")

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._tls or True, keepalive_timeout=_KEEPALIVE_S, limit=settings.concurrency + 1
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # a session cookie would win over the key
            timeout=aiohttp.ClientTimeout(
                total=settings.connect_timeout_s + _TOTAL_READS * settings.read_timeout_s,
                sock_connect=settings.connect_timeout_s,
                sock_read=settings.read_timeout_s,
            ),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def exchange(self, request: Request) -> Reply:
        """One request and its whole answer, of any status.

        Raises Trouble when there is no (whole) answer, ServerRefused for a certificate that is not trusted and
        for a redirect that must not be followed, AssetFailed (`too-large`) for a picture over its limit.
        """
        failure: AutotaggerError
        try:
            reply = await self._follow(request)
            whole_picture = request.picture and reply.status in (200, 206)
            return reply if whole_picture else replace(reply, body=self._without_key(reply.body))
        except AutotaggerError as error:
            error.message = self.without_key(error.message)
            error.args = (error.message,)
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = self._translate(error)
        raise failure  # here, not in the except clause: there it would take aiohttp's exception along

    def without_key(self, text: str) -> str:
        """`text` for people: a server that echoes the key, or a proxy's header, must not get it into messages,
        logs and files."""
        for shown, secret in self._secrets.items():
            text = text.replace(secret, shown)
        return text

    def _without_key(self, body: bytes) -> bytes:
        if b"\\u" in body:  # one way to write a character, so that nothing hides behind another
            with suppress(orjson.JSONDecodeError):
                body = orjson.dumps(orjson.loads(body))
        for shown, secret in self._secrets.items():
            body = body.replace(secret.encode(), shown.encode())
        return body

    async def _follow(self, request: Request) -> Reply:
        assert self._session is not None, "the client is used as: async with ImmichClient(...) as client"
        url = self.api.joinpath(*request.path.split("/"))
        url = url.with_query(request.query) if request.query else url
        for _ in range(_MAX_REDIRECTS + 1):
            begun = self._clock()
            async with self._session.request(
                request.method, url, data=request.body, headers=self._headers(request), allow_redirects=False
            ) as response:
                if response.status in _REDIRECTS:
                    url = self._redirected(request, url, response)
                    continue
                first_byte_s = self._clock() - begun
                return Reply(response.status, response.headers, await _read(request, response), first_byte_s)
        raise ServerRefused(f"{self.api} sends requests round in circles: check the proxy in front of Immich")

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {**self._proxy_headers, "Accept": _PICTURES if request.picture else "application/json"}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if request.part is not None:
            headers["Range"] = f"bytes={request.part[0]}-{request.part[1]}"
        if request.keyed:
            headers["x-api-key"] = self._key.get_secret_value()
        return headers

    def _redirected(self, request: Request, url: URL, response: aiohttp.ClientResponse) -> URL:
        try:
            target = url.join(URL(response.headers.get("Location", "")))
            same = target.origin() == url.origin()
        except ValueError:
            raise ServerRefused(f"{self.api} redirects to no valid address: check the proxy") from None
        if not same:
            raise ServerRefused(
                f"{self.api} redirects to another address, {target.origin()}, which does not get the API key: "
                "if that is your Immich, set base_url to it"
            )
        if request.method != "GET" and response.status not in (307, 308):
            raise ServerRefused(f"{self.api} redirects to {target.path}: set base_url to where Immich really is")
        return target

    def _translate(self, error: Exception) -> AutotaggerError:
        where = self.api.origin()
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return ServerRefused(
                f"the certificate of {where} is not trusted ({_certificate_reason(error)}): "
                "set ca_file in [immich] to the certificate authority that signed it"
            )
        if isinstance(error, aiohttp.ClientSSLError):
            return Trouble(f"no TLS with {where} (does it speak http instead of https?)", kind="tls")
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return Trouble(f"the host name {where.host} is not known", kind="connection")
        if isinstance(error, TimeoutError):
            return Trouble(f"{where} did not answer in time", kind="timeout")
        if isinstance(error, aiohttp.ClientPayloadError):
            return Trouble(f"the answer of {where} broke off", kind="connection")
        return Trouble(f"no connection with {where} ({_reason(error)})", kind="connection")


async def _read(request: Request, response: aiohttp.ClientResponse) -> bytes:
    """The body, counted as it comes: what Content-Length promises (or does not) is not relied on."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > request.max_bytes:
            limit = f"more than {request.max_bytes / (1 << 20):.0f} MB"
            if request.picture:
                raise AssetFailed(f"{request.about}: its {request.name} has {limit}", kind="too-large")
            raise Trouble(f"the answer to {request.name} has {limit}", kind="bad-answer")
        chunks.append(chunk)
    return b"".join(chunks)


def _tls_context(settings: ImmichSettings) -> ssl.SSLContext | None:
    """None where nothing is set: then aiohttp's own does."""
    if settings.client_key_file and not settings.client_cert_file:
        raise BadConfig("client_key_file in [immich] needs a client_cert_file")
    if settings.ca_file is None and settings.client_cert_file is None:
        return None
    context = ssl.create_default_context()
    if settings.ca_file:
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "not a certificate in PEM form"
            raise BadConfig(f"cannot use ca_file {settings.ca_file}: {reason}") from None
    if settings.client_cert_file:
        _load_client_certificate(context, settings.client_cert_file, settings.client_key_file)
    return context


def _load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    def no_password() -> str:  # else OpenSSL asks at the terminal, and a service waits for ever
        raise BadConfig(f"the key of client_cert_file {certificate} has a password: store it without one")

    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except (OSError, ssl.SSLError) as error:
        missing = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else None
        files = f"{certificate} with client_key_file {key}" if key else str(certificate)
        reason = missing or "no certificate with its private key in PEM form"
        raise BadConfig(f"cannot use client_cert_file {files}: {reason}") from None


def _certificate_reason(error: aiohttp.ClientConnectorCertificateError) -> str:
    inner = error.certificate_error
    return inner.verify_message if isinstance(inner, ssl.SSLCertVerificationError) else "it does not fit"


def _reason(error: Exception) -> str:
    """`connection refused`, or what the type says where there is no more: `server disconnected`."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return re.sub(r"(?<!^)([A-Z])", r" \1", type(error).__name__).lower().removesuffix(" error")
