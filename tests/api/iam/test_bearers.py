"""Access tokens that were tampered with, at the door: each is answered like a token that never was."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from keyservice.services import Services
from tests.api.premises import Premises, access_token_for, bearer, opened_premises, stored_rows
from tests.api.raw_http import request

PATH = "/publisher/pools"


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        yield opened


def encoded(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")


def decoded(part: str) -> Any:
    return json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def tampered(token: str, public_key: bytes) -> Iterator[tuple[str, str]]:
    """Variants of a good token, by what was done to it. Whoever makes them knows the public key and no other."""
    first, second, signature = token.split(".")
    header, claims = decoded(first), decoded(second)

    def with_header(**members: Any) -> str:
        return f"{encoded({**header, **members})}.{second}.{signature}"

    def with_claims(**members: Any) -> str:
        return f"{first}.{encoded({**claims, **members})}.{signature}"

    yield "no algorithm", f"{encoded({**header, 'alg': 'none'})}.{second}."
    yield "no algorithm, with the signature", with_header(alg="none")
    for name, secret in (("bytes", public_key), ("text", encoded(public_key).encode())):
        signed = f"{encoded({**header, 'alg': 'HS256'})}.{second}"
        yield (
            f"HS256 with the public key's {name}",
            f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}",
        )
        padded = hmac.digest(secret, f"{first}.{second}".encode(), hashlib.sha512)
        yield f"an HMAC with the public key's {name} for the signature", f"{first}.{second}.{encoded(padded)}"
    yield "another type", with_header(typ="JWT")
    yield "an unknown key", with_header(kid="0" * 32)
    yield "a key that is a path", with_header(kid="../" * 10 + "dev/null")
    yield "keys from elsewhere", with_header(jku="http://127.0.0.1/keys")
    yield "a certificate from elsewhere", with_header(x5u="http://127.0.0.1/certificate")
    yield "a critical extension", with_header(crit=["exp"], exp=1)
    yield "more scopes", with_claims(scope="publishers:write callers:write pools:read")
    yield "another client", with_claims(client_id="a" * 12, sub="a" * 12)
    yield "a later expiry", with_claims(exp=claims["exp"] + 3_600)
    yield "no expiry", f"{first}.{encoded({name: one for name, one in claims.items() if name != 'exp'})}.{signature}"
    yield "the signature of nothing", f"{first}.{second}.{'A' * 86}"
    yield "a nested token", f"{first}.{encoded(token.encode())}.{signature}"
    yield "7 KB", f"{first}.{encoded({**claims, 'scope': 'a' * 5_000})}.{signature}"
    yield "bytes beyond ASCII", f"{first}.{second[:-1]}\xff.{signature}"


async def test_a_token_that_was_tampered_with_opens_nothing_and_all_are_told_the_same(premises: Premises) -> None:
    token = await access_token_for(premises, premises.publisher)
    assert (await premises.served.get(PATH, bearer(token))).status == 200
    (published,) = json.loads((await premises.served.get("/iam/keys")).body)["keys"]
    public_key = urlsafe_b64decode(published["x"] + "=")
    before = await stored_rows(premises.services.database)
    wrong, details = [], set()
    for name, text in tampered(token, public_key):
        body = b'{"name":"never made"}'
        sent = request(f"POST {PATH} HTTP/1.1", "Content-Type: application/json", bearer(text), body=body)
        answer = await premises.served.send(sent)
        details.add(answer.problem["detail"])
        if answer.status != 401 or text in answer.body.decode():
            wrong.append(f"{name}: {answer}")
    assert not wrong
    assert details == {"this token is not known or was revoked"}
    assert await stored_rows(premises.services.database) == before
    assert (await premises.served.get(PATH, bearer(token))).status == 200


async def test_only_who_has_an_expired_token_is_told_that_it_expired(premises: Premises) -> None:
    expired = await access_token_for(premises, premises.publisher, moved=timedelta(hours=-1))
    answer = await premises.served.get(PATH, bearer(expired))
    assert (answer.status, answer.problem["detail"]) == (
        401,
        "this access token has expired; get a new one from /iam/tokens",
    )
    other = f"{expired.rpartition('.')[0]}.{'A' * 86}"
    assert (await premises.served.get(PATH, bearer(other))).problem[
        "detail"
    ] == "this token is not known or was revoked"


async def test_a_resellers_access_token_opens_its_purchases_and_no_connect(premises: Premises) -> None:
    token = await access_token_for(premises, premises.reseller)
    purchases = request(
        "POST /fulfillment/purchases/search HTTP/1.1",
        *("Content-Type: application/json", bearer(token)),
        body=b'{"email":"ada@example.com"}',
    )
    assert (await premises.served.send(purchases)).status == 200
    stock = request(
        "POST /connect/stock HTTP/1.1",
        "Content-Type: application/json",
        f"secret: {token}",
        body=b'{"productRefs":[1]}',
    )
    answer = await premises.served.send(stock)
    assert (answer.status, json.loads(answer.body)["responseCode"]) == (401, 71)
