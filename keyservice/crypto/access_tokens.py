"""Short-lived access tokens: JWTs in the profile of RFC 9068, signed with Ed25519 (RFC 8037, RFC 9864).

Only this service issues what it accepts, so the header is held to exactly the members it writes: no other algorithm, no
`none`, no key from elsewhere (`jku`, `x5u`, `jwk`), no `crit`. All refusals read alike, but for one: who can prove an
expired token may know that it has expired.
"""

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OKPKey

from keyservice.domain.errors import Unauthenticated

ALGORITHM: Final = "Ed25519"
TYPE: Final = "at+jwt"
CHARACTERS_MAX: Final = 4_096
CLOCK_SKEW: Final = timedelta(seconds=10)
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]{1,400})\.[A-Za-z0-9_-]{1,3600}\.[A-Za-z0-9_-]{86}")
_CLAIMS: Final = ("sub", "client_id", "iat", "nbf", "exp", "jti", "scope")
_KEY_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a token says: for whom it was issued (the id of its static token), with which scopes, until when."""

    client_id: str
    scopes: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    token_id: str


def sign_access_token(claims: AccessClaims, key_id: str, key: Ed25519PrivateKey, *, issuer: str) -> str:
    issued_at = int(claims.issued_at.timestamp())
    payload = {
        "iss": issuer,
        "aud": issuer,
        "sub": claims.client_id,
        "client_id": claims.client_id,
        "iat": issued_at,
        "nbf": issued_at,
        "exp": int(claims.expires_at.timestamp()),
        "jti": claims.token_id,
        "scope": " ".join(sorted(claims.scopes)),
    }
    header = {"typ": TYPE, "alg": ALGORITHM, "kid": key_id}
    return jwt.encode(header, payload, OKPKey.import_key(key), algorithms=[ALGORITHM])


def looks_like_access_token(text: str) -> bool:
    return text.count(".") == 2


def key_id_of(text: str) -> str:
    """Which key must have signed this token. Raises Unauthenticated unless its header is one of ours to the last member."""
    found = _COMPACT.fullmatch(text) if len(text) <= CHARACTERS_MAX else None
    if found is None:
        raise unknown_token()
    try:
        header = json.loads(base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4)).decode())
    except (ValueError, RecursionError):
        raise unknown_token() from None
    key_id = header.get("kid") if isinstance(header, dict) else None
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise unknown_token()
    if header != {"typ": TYPE, "alg": ALGORITHM, "kid": key_id}:
        raise unknown_token()
    return key_id


def read_access_token(text: str, key: Ed25519PublicKey, *, issuer: str, now: datetime) -> AccessClaims:
    """The claims of a token that `key_id_of` let through. Raises Unauthenticated."""
    ours = {name: jwt.ClaimsOption(essential=True, value=issuer) for name in ("iss", "aud")}
    there = {name: jwt.ClaimsOption(essential=True) for name in _CLAIMS}
    leeway = int(CLOCK_SKEW.total_seconds())
    registry = jwt.JWTClaimsRegistry(now=int(now.timestamp()), leeway=leeway, **ours, **there)
    try:
        claims = jwt.decode(text, OKPKey.import_key(key), algorithms=[ALGORITHM]).claims
        registry.validate(claims)
        return _claims(claims)
    except ExpiredTokenError:
        raise Unauthenticated("this access token has expired; get a new one from /iam/tokens") from None
    except (JoseError, TypeError, ValueError, OverflowError):
        raise unknown_token() from None


def unknown_token() -> Unauthenticated:
    return Unauthenticated("this token is not known or was revoked")


def public_jwk(key_id: str, key: Ed25519PublicKey) -> dict[str, Any]:
    """As RFC 7517 shows a public key."""
    return dict(OKPKey.import_key(key, {"kid": key_id, "use": "sig", "alg": ALGORITHM}).as_dict(private=False))


def _claims(claims: dict[str, Any]) -> AccessClaims:
    client_id, scope, token_id = claims["client_id"], claims["scope"], claims["jti"]
    if not isinstance(client_id, str) or not isinstance(scope, str) or claims["sub"] != client_id:
        raise TypeError("not a token of this service")
    return AccessClaims(
        client_id=client_id,
        scopes=frozenset(scope.split()),
        issued_at=datetime.fromtimestamp(claims["iat"], UTC),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        token_id=token_id,
    )
