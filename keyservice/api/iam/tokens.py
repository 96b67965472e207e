"""OAuth2 for machines: the client credentials grant (RFC 6749, section 4.4), and the keys that sign its tokens.

A client is a caller; its secret is its static token. Grants in which a person takes part are not given here.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict

from keyservice.api.access import admit, described_route
from keyservice.api.answering import AnswerModel
from keyservice.api.iam.errors import TokenRefused
from keyservice.api.operation import FORM, JSON, Credential, Form, Operation
from keyservice.api.reading import parse_json, read_body
from keyservice.crypto.tokens import parse_token
from keyservice.domain.caller import SCOPES_OF_KIND, Caller, Scope
from keyservice.domain.errors import Unauthenticated
from keyservice.services import SERVICES

GRANT_TYPE: Final = "client_credentials"
BODY_BYTES_MAX: Final = 8_192
_PARAMETERS_MAX: Final = 20
_JWKS_SECONDS: Final = 300
_MEDIA_TYPE: Final = re.compile(r"\s*([a-z]+/[a-z0-9.+-]+)\s*(?:;\s*charset\s*=\s*\"?utf-?8\"?\s*)?", re.IGNORECASE)
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")


class TokenRequest(BaseModel):
    """The form that asks for a token. Clients without HTTP Basic put their id and secret into it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    grant_type: Literal["client_credentials"]
    scope: str = ""
    """Some of the caller's scopes, with single spaces between them; without it, all of them."""
    client_id: str = ""
    """The first part of the caller's token: `ks_` and twelve characters."""
    client_secret: str = ""
    """The caller's whole token."""


class TokenAnswer(AnswerModel):
    """A short-lived token (RFC 6749, section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int
    """For how many seconds it is good."""
    scope: str
    """What it covers, with spaces between."""


class PublicKey(AnswerModel):
    """A public key (RFC 7517, RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["Ed25519"]


class PublicKeys(AnswerModel):
    """The keys whose tokens may be good, the one that signs now first (RFC 7517)."""

    keys: list[PublicKey]


_ISSUE: Final = Operation(
    operation_id="issue_token",
    summary="Get a short-lived token",
    description="OAuth2 client credentials (RFC 6749, section 4.4). The token goes where the caller's own token goes, but not"
    " into Connect's header `secret`. A JSON object with the same members is taken as well.",
    body=Form(TokenRequest),
    answers={200: TokenAnswer},
)
_KEYS: Final = Operation(
    operation_id="list_signing_keys", summary="List the public keys of short-lived tokens", answers={200: PublicKeys}
)


class _Client(NamedTuple):
    client_id: str
    secret: str


def routes() -> list[web.RouteDef]:
    return [
        described_route("POST", "/tokens", issue, _ISSUE, Credential.CLIENT),
        described_route("GET", "/keys", show_keys, _KEYS),
    ]


async def issue(request: web.Request) -> web.Response:
    """A short-lived token for a caller that shows its static one."""
    services = request.config_dict[SERVICES]
    form = await _form(request)
    client = _client(request, form)
    caller = await admit(request, await services.gatekeeper.identify(client.secret))
    if parse_token(client.secret)[0] != client.client_id.removeprefix("ks_"):
        raise Unauthenticated("the client id is not that of the secret")
    _demand_grant_type(form)
    scopes = _scopes(form, caller)
    text, seconds = await services.access_tokens.issue(parse_token(client.secret)[0], scopes)
    answer = TokenAnswer(access_token=text, expires_in=seconds, scope=" ".join(sorted(scopes)))
    return web.Response(body=answer.model_dump_json(), content_type=JSON, headers={hdrs.PRAGMA: "no-cache"})


async def show_keys(request: web.Request) -> web.Response:
    """The public keys as a JWK set (RFC 7517): those that sign, and those whose last token may still be good."""
    keys = await request.config_dict[SERVICES].access_tokens.public_keys()
    headers = {hdrs.CACHE_CONTROL: f"public, max-age={_JWKS_SECONDS}"}
    body = PublicKeys.model_validate({"keys": keys}).model_dump_json()
    return web.Response(body=body, content_type=JSON, headers=headers)


async def _form(request: web.Request) -> Mapping[str, str]:
    """The parameters by name; empty ones are absent, unknown ones are ignored (RFC 6749, section 3.2). Raises TokenRefused.

    JSON is taken as well: clients of the reference send it.
    """
    media_type = _MEDIA_TYPE.fullmatch(request.headers.get(hdrs.CONTENT_TYPE, ""))
    kind = media_type[1].lower() if media_type else ""
    if kind not in (FORM, JSON):
        raise TokenRefused("invalid_request", f"send the parameters as {FORM} in UTF-8")
    settings = request.config_dict[SERVICES].settings
    body = await read_body(request, bytes_max=BODY_BYTES_MAX, seconds_max=settings.body_seconds)
    pairs = _json_pairs(body) if kind == JSON else _form_pairs(body)
    if len({name for name, _ in pairs}) != len(pairs):
        raise TokenRefused("invalid_request", "send each parameter once")
    return {name: value for name, value in pairs if value}


def _form_pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        text = body.decode("ascii")
        return parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=_PARAMETERS_MAX
        )
    except ValueError:
        raise TokenRefused("invalid_request", f"the body cannot be read as {FORM}") from None


def _json_pairs(body: bytes) -> list[tuple[str, str]]:
    members = parse_json(body)
    if not isinstance(members, dict) or not all(isinstance(value, str) for value in members.values()):
        raise TokenRefused("invalid_request", "a JSON body is one object whose members are texts")
    return list(members.items())


def _client(request: web.Request, form: Mapping[str, str]) -> _Client:
    """RFC 6749, section 2.3.1: HTTP Basic, or the two parameters; not both. Raises Unauthenticated and TokenRefused."""
    values = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not values:
        if "client_id" not in form or "client_secret" not in form:
            raise Unauthenticated("authenticate with HTTP Basic, or with client_id and client_secret")
        return _Client(form["client_id"], form["client_secret"])
    if "client_secret" in form:
        raise TokenRefused("invalid_request", "authenticate in one way only: by HTTP Basic or with client_secret")
    client = _basic(values)
    if form.get("client_id", client.client_id) != client.client_id:
        raise TokenRefused("invalid_request", "client_id differs from the one of HTTP Basic")
    return client


def _basic(values: list[str]) -> _Client:
    scheme, _, encoded = values[0].partition(" ")
    if len(values) != 1 or scheme.lower() != "basic":
        raise Unauthenticated("send one header `Authorization: Basic <base64 of client id, colon, client secret>`")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise Unauthenticated("the credentials of HTTP Basic cannot be read") from None
    client_id, _, secret = text.partition(":")
    return _Client(unquote_plus(client_id), unquote_plus(secret))


def _demand_grant_type(form: Mapping[str, str]) -> None:
    if "grant_type" not in form:
        raise TokenRefused("invalid_request", f"grant_type is missing: send {GRANT_TYPE}")
    if form["grant_type"] != GRANT_TYPE:
        raise TokenRefused("unsupported_grant_type", f"the only grant here is {GRANT_TYPE}")


def _scopes(form: Mapping[str, str], caller: Caller) -> frozenset[Scope]:
    """What is asked for, or all that the caller has. Raises TokenRefused for anything beyond that."""
    allowed = caller.scopes & SCOPES_OF_KIND[caller.kind]
    asked = form.get("scope")
    if asked is None:
        return allowed
    names = frozenset(asked.split(" ")) if _SCOPE.fullmatch(asked) else frozenset({""})
    if not names <= allowed:
        raise TokenRefused("invalid_scope", "scope names rights that this caller does not have, or is malformed")
    return frozenset(scope for scope in allowed if scope in names)
