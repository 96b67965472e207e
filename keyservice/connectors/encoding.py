"""A rendered request as bytes, and the digest by which a repetition is known to be one."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode

from yarl import URL

from keyservice.connectors.calls import RequestParts

USER_AGENT: Final = "keyservice"

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
FRAMING_HEADERS: Final = frozenset(
    {
        *(
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "upgrade",
            "expect",
        ),
        *("accept-encoding", "cookie", "proxy-authorization", "proxy-connection"),
    }
)
"""Headers that say how a message is framed and whom it is for: never a template's to set."""


class NotSendable(Exception):
    """A request that cannot be put on the wire as it is; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """Exactly what is sent, but for headers of the connection."""

    method: str
    url: URL = field(repr=False)
    headers: list[tuple[str, str]] = field(repr=False)
    body: bytes | None = field(repr=False)

    @property
    def sha256(self) -> bytes:
        """Over method, target and body. Headers are left out: dates and tokens differ from one sending to the next."""
        digest = hashlib.sha256(f"{self.method}\n{self.url}\n".encode())
        digest.update(b"-" if self.body is None else b"+" + self.body)
        return digest.digest()


def encode(parts: RequestParts) -> EncodedRequest:
    """Raises NotSendable."""
    headers = list(_checked(parts.headers))
    body, content_type = _body(parts)
    names = {name.lower() for name, _ in headers}
    if content_type is not None and "content-type" not in names:
        headers += _checked([("Content-Type", content_type)])
    if "user-agent" not in names:
        headers.append(("User-Agent", USER_AGENT))
    return EncodedRequest(parts.method, _url(parts), headers, body)


def encode_text(text: str, charset: str) -> bytes:
    """As browsers do: what a charset does not have becomes a numeric reference."""
    return text.encode(charset, "xmlcharrefreplace")


def encode_form(pairs: Iterable[tuple[str, str]], charset: str) -> bytes:
    """application/x-www-form-urlencoded."""
    return urlencode([(encode_text(name, charset), encode_text(value, charset)) for name, value in pairs]).encode()


def _body(parts: RequestParts) -> tuple[bytes | None, str | None]:
    if parts.form is not None:
        return encode_form(parts.form, parts.form_charset), parts.content_type or "application/x-www-form-urlencoded"
    return parts.body, parts.content_type if parts.body is not None else None


def _url(parts: RequestParts) -> URL:
    target = parts.url.partition("#")[0]
    if parts.query:
        query = urlencode(parts.query, quote_via=quote)
        target = f"{target}{'&' if '?' in target else '?'}{query}"
    try:
        origin = str(URL(target).origin())
    except ValueError:
        raise NotSendable("url-refused") from None
    authority_end = re.search(r"[/?]", target.partition("://")[2])
    rest = target.partition("://")[2][authority_end.start() :] if authority_end else "/"
    # What was encoded by the template stays as it is; yarl would decode and encode it anew.
    return URL(origin + quote(rest if rest.startswith("/") else f"/{rest}", safe="/?&=%:@!$'()*+,;~-._"), encoded=True)


def _checked(headers: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value) or name.lower() in FRAMING_HEADERS:
            raise NotSendable("header-refused")
        yield name, value
