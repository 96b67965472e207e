"""The way out of the house: which URLs may be configured, and which addresses are ever connected to.

A URL is judged when it is configured and again before it is asked, so that a mistake is told early. What protects is the
judgement of the address: `guarded_connector` makes every socket itself, knowing the address that it is for, so it does not
matter what a name resolved to before, how an address was written, or who changed the answer in between.
"""

import re
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from keyservice.connectors.addresses import Network, is_public, judged_address
from keyservice.domain.errors import KeyserviceError

DNS_CACHE_SECONDS: Final = 5
KEEP_ALIVE_SECONDS: Final = 2.0
"""Shorter than what servers are set to: a request on a connection that its server is closing has an unknown outcome."""

URL_CHARACTERS_MAX: Final = 4_096

_PLAIN_AUTHORITY: Final = re.compile(r"[^\x00-\x20\x7f<>\"\\^`{|}%@\s]+")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_LOCAL_ENDINGS: Final = ("localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa")

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Where the service may connect to."""

    ports: frozenset[int] | None = frozenset({80, 443, 8443})
    """None: any."""

    allow_plain_http: bool = False
    allow_loopback: bool = False
    """For a publisher that runs on this machine: the sandbox, tests."""

    networks: tuple[Network, ...] = ()
    """Allowed although they are not public: a publisher in the operator's own network."""

    def allows(self, host: str, port: int) -> bool:
        """May this address be connected to?"""
        if self.ports is not None and port not in self.ports:
            return False
        try:
            address = judged_address(ip_address(host))
        except ValueError:
            return False
        if any(address.version == network.version and address in network for network in self.networks):
            return True
        return address.is_loopback if self.allow_loopback and address.is_loopback else is_public(address)


class UrlRefused(KeyserviceError):
    """A URL that is never asked; the message says what is wrong with it."""

    code = "url-refused"


class AddressRefused(PermissionError):
    """An address that is never connected to; the text is always the same, so that it tells nothing of a network."""

    def __init__(self) -> None:
        super().__init__("the address is not one that may be connected to")


def check_url(url: str, policy: EgressPolicy) -> URL:
    """The URL as it will be asked, or `UrlRefused`."""
    if len(url) > URL_CHARACTERS_MAX:
        raise UrlRefused(f"the URL is longer than {URL_CHARACTERS_MAX} characters")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in ("https", "http"):
        raise UrlRefused("the URL has to begin with https://")
    if scheme.lower() == "http" and not policy.allow_plain_http:
        raise UrlRefused("the URL has to begin with https://; plain http is not allowed here")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise UrlRefused("the URL holds a user name or password; set them as authentication")
    if not _PLAIN_AUTHORITY.fullmatch(authority):
        raise UrlRefused("the URL's host is missing or has characters in it that no host has")
    if re.search(r"[\x00-\x20\x7f\\]", rest):
        raise UrlRefused("the URL has a space, a backslash or a control character in it")
    try:
        parsed = URL(url)
        host, port = parsed.raw_host, parsed.port
    except ValueError:
        raise UrlRefused("the URL cannot be read: its host or port is wrong") from None
    if host is None or port is None:
        raise UrlRefused("the URL has no host")
    if authority.endswith(":") or port == 0 or (policy.ports is not None and port not in policy.ports):
        raise UrlRefused("the URL's port is not one that may be connected to")
    _check_host(host, port, policy)
    return parsed


def _check_host(host: str, port: int, policy: EgressPolicy) -> None:
    """`host` is what is left after IDNA: digits in circles are digits by now, and full stops are dots."""
    if "%" in host:
        raise UrlRefused("the URL's address has a zone")
    try:
        ip_address(host)
    except ValueError:
        _check_name(host, policy)
        return
    if not policy.allows(host, port):
        raise UrlRefused("the URL's address is not one that may be connected to")


def _check_name(name: str, policy: EgressPolicy) -> None:
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("the URL's host is not a name that can be looked up; leave out a dot at its end")
    # Resolvers of operating systems take 2130706433, 127.1, 0x7f.1 and 0177.0.0.1 for 127.0.0.1.
    if _NUMBER.fullmatch(labels[-1]):
        raise UrlRefused(
            "the URL's host looks like an address in an unusual notation; write it as four decimal numbers"
        )
    if policy.allow_loopback and labels[-1].lower() == "localhost":
        return
    if not policy.networks and (len(labels) == 1 or name.lower().endswith(_with_dot(_LOCAL_ENDINGS))):
        raise UrlRefused("the URL's host is a name of a local network")


def _with_dot(endings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f".{ending}" for ending in endings)


def guarded_connector(
    policy: EgressPolicy,
    *,
    connections_max: int = 100,
    ssl_context: ssl.SSLContext | None = None,
    resolver: AbstractResolver | None = None,
) -> aiohttp.TCPConnector:
    """Connections to nowhere but where the policy allows.

    The guard sits where sockets are made: a resolver is no place for it, because it is not asked for addresses in digits.
    """

    def guarded_socket(address_info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, socket_address = address_info
        if family not in (socket.AF_INET, socket.AF_INET6) or not policy.allows(socket_address[0], socket_address[1]):
            raise AddressRefused
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(
        limit=connections_max,
        ssl=ssl_context or True,
        resolver=resolver,
        ttl_dns_cache=DNS_CACHE_SECONDS,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        socket_factory=guarded_socket,
        # Rounding deadlines up to whole seconds would make a budget of 5 seconds one of 6.
        timeout_ceil_threshold=float("inf"),
    )
