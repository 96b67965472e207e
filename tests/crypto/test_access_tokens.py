import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keyservice.crypto.access_tokens import (
    CLOCK_SKEW,
    AccessClaims,
    key_id_of,
    looks_like_access_token,
    public_jwk,
    read_access_token,
    sign_access_token,
)
from keyservice.domain.errors import Unauthenticated

NOW: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY: Final = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
KEY_ID: Final = "0123456789abcdef" * 2
CLAIMS: Final = AccessClaims(
    "abcdefghij27", frozenset({"pools:read", "orders:read"}), NOW, NOW + timedelta(minutes=5), "01a2"
)
HEADER: Final = {"typ": "at+jwt", "alg": "Ed25519", "kid": KEY_ID}
PAYLOAD: Final[dict[str, Any]] = {
    "iss": "keyservice",
    "aud": "keyservice",
    "sub": "abcdefghij27",
    "client_id": "abcdefghij27",
    "iat": int(NOW.timestamp()),
    "nbf": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 300,
    "jti": "01a2",
    "scope": "orders:read pools:read",
}
PUBLIC: Final = KEY.public_key().public_bytes_raw()


def signed(claims: AccessClaims = CLAIMS) -> str:
    return sign_access_token(claims, KEY_ID, KEY, issuer="keyservice")


def read(text: str, *, now: datetime = NOW) -> AccessClaims:
    key_id_of(text)
    return read_access_token(text, KEY.public_key(), issuer="keyservice", now=now)


def encoded(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")


def made(header: object = HEADER, payload: object = PAYLOAD, *, key: Ed25519PrivateKey = KEY) -> str:
    """Signed by the right key, whatever it says."""
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"{text}.{encoded(key.sign(text.encode()))}"


def changed(part: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Members that are given as `...` are left out."""
    return {name: value for name, value in {**part, **members}.items() if value is not ...}


def with_hmac(header: dict[str, Any], secret: bytes) -> str:
    text = f"{encoded(header)}.{encoded(PAYLOAD)}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), hashlib.sha256) * 2)}"


def test_what_is_signed_is_read_again() -> None:
    assert looks_like_access_token(signed())
    assert key_id_of(signed()) == KEY_ID
    assert read(signed()) == CLAIMS
    assert read(made()) == CLAIMS


def test_the_form_of_a_token_is_that_of_rfc_9068() -> None:
    header, payload, signature = (urlsafe_b64decode(part + "==") for part in signed().split("."))
    assert (json.loads(header), json.loads(payload), len(signature)) == (HEADER, PAYLOAD, 64)
    KEY.public_key().verify(signature, signed().rpartition(".")[0].encode())


def test_a_public_key_is_shown_without_its_private_half() -> None:
    shown = public_jwk(KEY_ID, KEY.public_key())
    assert shown == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": encoded(PUBLIC),
        "kid": KEY_ID,
        "use": "sig",
        "alg": "Ed25519",
    }


def test_a_token_is_good_until_it_expires_and_a_little_more_for_the_skew_of_clocks() -> None:
    for now in (NOW - CLOCK_SKEW, NOW, CLAIMS.expires_at, CLAIMS.expires_at + CLOCK_SKEW - timedelta(seconds=1)):
        assert read(signed(), now=now) == CLAIMS
    with pytest.raises(Unauthenticated, match="not known or was revoked"):
        read(signed(), now=NOW - CLOCK_SKEW - timedelta(seconds=1))
    with pytest.raises(Unauthenticated, match="expired; get a new one from /iam/tokens"):
        read(signed(), now=CLAIMS.expires_at + CLOCK_SKEW)


FORGED: Final = {
    "no algorithm at all": made(changed(HEADER, alg="none")),
    "no algorithm and no signature": f"{encoded(changed(HEADER, alg='none'))}.{encoded(PAYLOAD)}.",
    "no algorithm in capitals": made(changed(HEADER, alg="NONE")),
    "HS256 with the public key": with_hmac(changed(HEADER, alg="HS256"), PUBLIC),
    "HS512 with the public key in hexadecimal": with_hmac(changed(HEADER, alg="HS512"), PUBLIC.hex().encode()),
    "HS256 under the right name of the algorithm": with_hmac(HEADER, PUBLIC),
    "the older name of the algorithm": made(changed(HEADER, alg="EdDSA")),
    "an algorithm that is a number": made(changed(HEADER, alg=8037)),
    "without an algorithm": made(changed(HEADER, alg=...)),
    "another type": made(changed(HEADER, typ="JWT")),
    "an id token": made(changed(HEADER, typ="id+jwt")),
    "without a type": made(changed(HEADER, typ=...)),
    "without a key": made(changed(HEADER, kid=...)),
    "a key that is a path": made(changed(HEADER, kid="../../../../dev/null")),
    "a key that is SQL": made(changed(HEADER, kid="' OR '1'='1")),
    "a key that is a list": made(changed(HEADER, kid=[KEY_ID])),
    "a key with a line's end": made(changed(HEADER, kid=KEY_ID + "\n")),
    "keys from elsewhere": made(changed(HEADER, jku="https://evil.test/keys")),
    "a certificate from elsewhere": made(changed(HEADER, x5u="https://evil.test/certificate")),
    "a certificate": made(changed(HEADER, x5c=["MIIB"])),
    "a key of its own": made(changed(HEADER, jwk=public_jwk(KEY_ID, KEY.public_key()))),
    "a critical extension": made(changed(HEADER, crit=["exp"])),
    "an unencoded payload": made(changed(HEADER, b64=False, crit=["b64"])),
    "a content type": made(changed(HEADER, cty="JWT")),
    "a compressed payload": made(changed(HEADER, zip="DEF")),
    "a header that is a list": made(["alg", "kid", "typ"]),
    "a header that is a text": made("alg"),
    "a header that is no JSON": made(b"alg=Ed25519"),
    "a header in UTF-16": made(json.dumps(HEADER).encode("utf-16")),
    "a deep header": made(b"[" * 200),
    "a long header": made(changed(HEADER, kid="a" * 400)),
    "another key": made(key=Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)),
    "another issuer": made(payload=changed(PAYLOAD, iss="https://evil.test")),
    "without an issuer": made(payload=changed(PAYLOAD, iss=...)),
    "an issuer that is a list": made(payload=changed(PAYLOAD, iss=["keyservice"])),
    "another audience": made(payload=changed(PAYLOAD, aud="another-service")),
    "other audiences": made(payload=changed(PAYLOAD, aud=["another-service", "a-third-one"])),
    "without an audience": made(payload=changed(PAYLOAD, aud=...)),
    "without an expiry": made(payload=changed(PAYLOAD, exp=...)),
    "an expiry that is a text": made(payload=changed(PAYLOAD, exp="4102444800")),
    "an expiry that is true": made(payload=changed(PAYLOAD, exp=True)),
    "an expiry that is null": made(payload=changed(PAYLOAD, exp=None)),
    "an expiry beyond all dates": made(payload=changed(PAYLOAD, exp=10**30)),
    "an infinite expiry": made(payload=json.dumps(PAYLOAD).replace(str(PAYLOAD["exp"]), "Infinity").encode()),
    "not good yet": made(payload=changed(PAYLOAD, nbf=PAYLOAD["nbf"] + 60)),
    "without the time from which it is good": made(payload=changed(PAYLOAD, nbf=...)),
    "issued in the future": made(payload=changed(PAYLOAD, iat=PAYLOAD["iat"] + 60)),
    "without a time of issue": made(payload=changed(PAYLOAD, iat=...)),
    "without a subject": made(payload=changed(PAYLOAD, sub=...)),
    "another subject": made(payload=changed(PAYLOAD, sub="someone-else")),
    "a client that is a number": made(payload=changed(PAYLOAD, client_id=7, sub=7)),
    "without scopes": made(payload=changed(PAYLOAD, scope=...)),
    "scopes in a list": made(payload=changed(PAYLOAD, scope=["pools:read"])),
    "without an id": made(payload=changed(PAYLOAD, jti=...)),
    "a payload that is a list": made(payload=["pools:read"]),
    "a payload that is no JSON": made(payload=b"scope=pools:read"),
    "a nested token": made(payload=signed().encode()),
    "megabytes": made(payload=changed(PAYLOAD, scope="a" * 10_000_000)),
    "more than a header line may have": made(payload=changed(PAYLOAD, scope="a" * 3_000)),
    "two parts": signed().rpartition(".")[0],
    "four parts": signed() + ".e30",
    "an empty part": signed().replace(".", "..", 1),
    "padding": signed() + "==",
    "the other alphabet": f"{signed()[:-2]}+/",
    "a line's end": signed() + "\n",
    "a blank in front": " " + signed(),
    "nothing": "",
    "full stops": "..",
    "letters of another alphabet": signed().replace("e", "\u0435"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_this_service_did_not_issue_is_refused_in_the_same_words(name: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        read(FORGED[name])
    assert str(refusal.value) == "this token is not known or was revoked"


def test_an_expired_forgery_is_not_told_from_any_other() -> None:
    other = made(key=Ed25519PrivateKey.from_private_bytes(b"\x08" * 32))
    with pytest.raises(Unauthenticated, match="not known or was revoked"):
        read(other, now=NOW + timedelta(days=1))


def test_no_character_of_a_token_can_be_changed() -> None:
    text = signed()
    for place, character in enumerate(text[:-1]):  # some bits of the last one mean nothing
        tampered = f"{text[:place]}{'A' if character != 'A' else 'B'}{text[place + 1 :]}"
        with pytest.raises(Unauthenticated):
            read(tampered)


@given(st.text(max_size=300))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(Unauthenticated):
        read(text)


@given(st.dictionaries(st.sampled_from(sorted(PAYLOAD)), st.one_of(st.none(), st.booleans(), st.integers(), st.text())))
def test_whatever_a_signed_payload_says_it_is_read_or_refused(members: dict[str, object]) -> None:
    try:
        claims = read(made(payload=changed(PAYLOAD, **members)))
    except Unauthenticated:
        return
    assert replace(claims, scopes=CLAIMS.scopes, token_id=CLAIMS.token_id).client_id == members.get(
        "client_id", CLAIMS.client_id
    )
