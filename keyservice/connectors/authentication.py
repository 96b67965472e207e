"""How we prove to a publisher who we are: headers, tokens, and certificates of ours and of theirs."""

import base64
import os
import ssl
from collections.abc import Mapping
from typing import Final, Protocol

from keyservice.connectors.document import (
    Authentication,
    BasicAuthentication,
    BearerAuthentication,
    HeaderAuthentication,
    NoAuthentication,
    OAuth2Authentication,
    Transport,
)
from keyservice.connectors.encoding import NotSendable

_FORBIDDEN: Final = "\r\n\0"


class Tokens(Protocol):
    """Where OAuth2's tokens come from."""

    async def token(self, wait_seconds: float) -> str:
        """A token; raises TokenFailed."""
        ...


async def authenticated(
    authentication: Authentication, secrets: Mapping[str, str], tokens: Tokens | None, *, wait_seconds: float
) -> list[tuple[str, str]]:
    """The headers that prove who we are; raises TokenFailed, and NotSendable for a secret that is missing or no header."""
    match authentication:
        case NoAuthentication():
            return []
        case BasicAuthentication():
            pair = f"{authentication.user}:{secret_named(authentication.password_secret, secrets)}"
            return [("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")]
        case BearerAuthentication():
            return [_header("Authorization", "Bearer ", secret_named(authentication.token_secret, secrets))]
        case HeaderAuthentication():
            secret = secret_named(authentication.value_secret, secrets)
            return [_header(authentication.name, authentication.prefix, secret)]
        case OAuth2Authentication():
            assert tokens is not None
            return [("Authorization", f"Bearer {await tokens.token(wait_seconds)}")]


def secret_named(name: str, secrets: Mapping[str, str]) -> str:
    """Raises NotSendable if the connector has no such secret."""
    try:
        return secrets[name]
    except KeyError:
        raise NotSendable("secret-missing") from None


def _header(name: str, prefix: str, secret: str) -> tuple[str, str]:
    value = prefix + secret
    if any(character in value for character in _FORBIDDEN):
        raise NotSendable("secret-refused")
    return name, value


def ssl_context_for(transport: Transport, secrets: Mapping[str, str]) -> ssl.SSLContext | None:
    """None: the usual roots and no certificate of ours. A publisher's own root comes in place of the usual ones."""
    if transport.ca_certificate is None and transport.client_certificate is None:
        return None
    try:
        context = ssl.create_default_context(cadata=transport.ca_certificate)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if transport.client_certificate is not None:
            key = secret_named(transport.client_key_secret, secrets)
            _load_client_certificate(context, f"{transport.client_certificate}\n{key}\n".encode())
    except (ssl.SSLError, ValueError, OSError):
        raise NotSendable("certificate-refused") from None
    return context


def _load_client_certificate(context: ssl.SSLContext, pem: bytes) -> None:
    """Python reads certificates from files only: this one is in memory, so that the key is never on a disk."""
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        # A password asked for on the terminal would stop the service.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    finally:
        os.close(descriptor)
