import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from keyservice.crypto.tokens import new_token, parse_token
from keyservice.domain.caller import SCOPES_OF_KIND, CallerKind, Scope
from keyservice.fulfillment.manage_callers import add_caller, revoke_caller
from keyservice.services import Services
from tests.api.premises import Premises, bearer, forged, opened_premises, stored_rows
from tests.api.raw_http import Answer, assert_headers, request

FORM: Final = "Content-Type: application/x-www-form-urlencoded"
JSON: Final = "Content-Type: application/json"
GRANT: Final = "grant_type=client_credentials"


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        yield opened


def basic(client_id: str, secret: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def client_of(token: str) -> str:
    return f"ks_{parse_token(token)[0]}"


async def asked(premises: Premises, body: str, *lines: str, kind: str = FORM) -> Answer:
    return await premises.served.send(request("POST /iam/tokens HTTP/1.1", kind, *lines, body=body.encode("latin-1")))


async def granted(premises: Premises, token: str, body: str = GRANT) -> dict[str, Any]:
    answer = await asked(premises, body, basic(client_of(token), token))
    assert answer.status == 200, answer
    document: dict[str, Any] = json.loads(answer.body)
    return document


async def test_a_caller_gets_a_short_lived_token_and_uses_it(premises: Premises) -> None:
    answer = await asked(premises, GRANT, basic(client_of(premises.publisher), premises.publisher))
    document = json.loads(answer.body)
    assert answer.status == 200
    assert_headers(answer)
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert document.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (document["token_type"], document["expires_in"]) == ("Bearer", 300)
    assert set(document["scope"].split()) == SCOPES_OF_KIND[CallerKind.PUBLISHER]
    assert premises.publisher not in answer.body.decode()
    assert (await premises.served.get("/publisher/pools", bearer(document["access_token"]))).status == 200


async def test_a_client_authenticates_in_every_way_that_oauth2_has_for_it(premises: Premises) -> None:
    token = premises.publisher
    client_id, bare = client_of(token), parse_token(token)[0]
    in_body = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": token}
    for body, lines, kind in (
        (GRANT, [basic(client_id, token)], FORM),
        (GRANT, [basic(bare, token)], FORM),
        (GRANT, [basic(quote(client_id, safe=""), quote(token, safe="")).replace("Basic", "basic")], FORM),
        (f"{GRANT}&client_id={client_id}", [basic(client_id, token)], FORM),
        (urlencode(in_body), [], FORM),
        (urlencode(in_body), [], f"{FORM}; charset=UTF-8"),
        (urlencode({**in_body, "realm": "shop", "scope": ""}), [], FORM),
        (json.dumps(in_body), [], JSON),
    ):
        assert (await asked(premises, body, *lines, kind=kind)).status == 200, (body, lines, kind)


async def test_a_token_can_be_asked_for_less(premises: Premises) -> None:
    document = await granted(premises, premises.publisher, f"{GRANT}&scope=pools:read+statements:read")
    assert document["scope"] == "pools:read statements:read"
    line = bearer(document["access_token"])
    assert (await premises.served.get("/publisher/pools", line)).status == 200
    made = request("POST /publisher/pools HTTP/1.1", JSON, line, body=b'{"name":"never made"}')
    assert (await premises.served.send(made)).status == 403


async def test_the_published_keys_verify_what_was_issued(premises: Premises) -> None:
    document = await granted(premises, premises.admin)
    answer = await premises.served.get("/iam/keys")
    assert (answer.status, answer.headers["cache-control"]) == (200, "public, max-age=300")
    published = json.loads(answer.body)
    assert all(key.keys() == {"kty", "crv", "x", "kid", "use", "alg"} for key in published["keys"])
    read = jwt.decode(document["access_token"], KeySet.import_key_set(published), algorithms=["Ed25519"])
    assert (read.header["typ"], read.claims["iss"], read.claims["aud"]) == ("at+jwt", "keyservice", "keyservice")
    assert read.claims["client_id"] == read.claims["sub"] == parse_token(premises.admin)[0]
    assert read.claims["exp"] - read.claims["iat"] == 300
    assert set(read.claims["scope"].split()) == SCOPES_OF_KIND[CallerKind.ADMIN]


async def test_a_right_beyond_its_kind_is_granted_to_nobody_even_if_it_is_stored(premises: Premises) -> None:
    async with premises.services.database.transaction() as connection:
        token = await add_caller(connection, kind=CallerKind.AUDITOR, name="stored with more")
        more = ["pools:read", "publishers:write"]
        await connection.execute("UPDATE callers SET scopes = $1 WHERE name = 'stored with more'", more)
    assert (await granted(premises, token))["scope"] == "pools:read"
    answer = await asked(premises, f"{GRANT}&scope={Scope.PUBLISHERS_WRITE}", basic(client_of(token), token))
    assert json.loads(answer.body)["error"] == "invalid_scope"


@pytest.fixture(scope="module")
async def words(premises: Premises) -> dict[str, str]:
    async with premises.services.database.transaction() as connection:
        revoked = await add_caller(connection, kind=CallerKind.ADMIN, name="revoked client")
        await revoke_caller(connection, "revoked client")
    token, unknown = premises.publisher, new_token()[1]
    tokens = {"token": token, "unknown": unknown, "revoked": revoked, "wrong": forged(token), "other": premises.admin}
    granted_to = await granted(premises, token)
    return {
        **tokens,
        **{f"{name}_id": client_of(text) for name, text in tokens.items()},
        **{
            f"{name}_basic": basic(client_of(text), text).removeprefix("Authorization: ")
            for name, text in tokens.items()
        },
        "mixed_basic": basic(client_of(premises.admin), token).removeprefix("Authorization: "),
        "no_colon": base64.b64encode(token.encode()).decode(),
        "beyond_ascii": base64.b64encode(b"ks_\xff:\xfe").decode(),
        "jwt": granted_to["access_token"],
        "jwt_basic": basic(client_of(token), granted_to["access_token"]).removeprefix("Authorization: "),
    }


GOOD: Final = "Authorization: {token_basic}"
IN_BODY: Final = "client_id={token_id}&client_secret={token}"
# By what is wrong: the body, further header lines, the status and the error. `{...}` stands for one of the words.
REFUSED: Final[dict[str, tuple[str, tuple[str, ...], int, str]]] = {
    "no credential": (GRANT, (), 401, "invalid_client"),
    "a client without a secret": (GRANT + "&client_id={token_id}", (), 401, "invalid_client"),
    "an empty secret": (GRANT + "&client_id={token_id}&client_secret=", (), 401, "invalid_client"),
    "a secret without a client": (GRANT + "&client_secret={token}", (), 401, "invalid_client"),
    "another's id": (GRANT, ("Authorization: {mixed_basic}",), 401, "invalid_client"),
    "another's id in the body": (GRANT + "&client_id={other_id}&client_secret={token}", (), 401, "invalid_client"),
    "an unknown client": (GRANT, ("Authorization: {unknown_basic}",), 401, "invalid_client"),
    "a revoked client": (GRANT, ("Authorization: {revoked_basic}",), 401, "invalid_client"),
    "another secret": (GRANT, ("Authorization: {wrong_basic}",), 401, "invalid_client"),
    "a token as a bearer's": (GRANT, ("Authorization: Bearer {token}",), 401, "invalid_client"),
    "a short-lived token for a bearer": (GRANT, ("Authorization: Bearer {jwt}",), 401, "invalid_client"),
    "a short-lived token as the secret": (GRANT, ("Authorization: {jwt_basic}",), 401, "invalid_client"),
    "twice the same header": (GRANT, (GOOD, GOOD), 401, "invalid_client"),
    "no base64": (GRANT, ("Authorization: Basic ====",), 401, "invalid_client"),
    "base64 with blanks": (GRANT, ("Authorization: Basic a b",), 401, "invalid_client"),
    "no colon": (GRANT, ("Authorization: Basic {no_colon}",), 401, "invalid_client"),
    "bytes beyond ASCII": (GRANT, ("Authorization: Basic {beyond_ascii}",), 401, "invalid_client"),
    "nothing behind the scheme": (GRANT, ("Authorization: Basic",), 401, "invalid_client"),
    "8 KB": (GRANT, ("Authorization: Basic " + "a" * 8_000,), 401, "invalid_client"),
    "two ways at once": (f"{GRANT}&{IN_BODY}", (GOOD,), 400, "invalid_request"),
    "two clients": (GRANT + "&client_id={other_id}", (GOOD,), 400, "invalid_request"),
    "no grant": ("", (GOOD,), 400, "invalid_request"),
    "an empty grant": ("grant_type=", (GOOD,), 400, "invalid_request"),
    "a grant twice": (f"{GRANT}&{GRANT}", (GOOD,), 400, "invalid_request"),
    "a scope twice": (f"{GRANT}&scope=pools:read&scope=pools:read", (GOOD,), 400, "invalid_request"),
    "a password": ("grant_type=password&username=a&password=b", (GOOD,), 400, "unsupported_grant_type"),
    "a code": ("grant_type=authorization_code&code=x", (GOOD,), 400, "unsupported_grant_type"),
    "a grant in capitals": ("grant_type=CLIENT_CREDENTIALS", (GOOD,), 400, "unsupported_grant_type"),
    "a scope that is unknown": (f"{GRANT}&scope=everything", (GOOD,), 400, "invalid_scope"),
    "a scope of another kind": (f"{GRANT}&scope=publishers:write", (GOOD,), 400, "invalid_scope"),
    "one scope too many": (f"{GRANT}&scope=pools:read+publishers:write", (GOOD,), 400, "invalid_scope"),
    "scopes with a comma": (f"{GRANT}&scope=pools:read,pools:write", (GOOD,), 400, "invalid_scope"),
    "two blanks": (f"{GRANT}&scope=pools:read++pools:write", (GOOD,), 400, "invalid_scope"),
    "a quotation mark": (f"{GRANT}&scope=%22pools:read%22", (GOOD,), 400, "invalid_scope"),
    "a blank as scope": (f"{GRANT}&scope=+", (GOOD,), 400, "invalid_scope"),
    "no form": ("grant_type", (GOOD,), 400, "invalid_request"),
    "broken UTF-8": (f"{GRANT}&scope=%ff%fe", (GOOD,), 400, "invalid_request"),
    "bytes in the form": (f"{GRANT}&scope=\xff", (GOOD,), 400, "invalid_request"),
    "many parameters": ("&".join(f"a{number}=1" for number in range(21)), (GOOD,), 400, "invalid_request"),
    "a large body": (f"{GRANT}&scope={'a' * 9_000}", (GOOD,), 413, "invalid_request"),
    "an encoding": (GRANT, (GOOD, "Content-Encoding: gzip"), 415, "invalid_request"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_is_refused_as_oauth2_has_it(
    premises: Premises, words: dict[str, str], name: str
) -> None:
    body, lines, status, error = REFUSED[name]
    before = await stored_rows(premises.services.database)
    answer = await asked(premises, body.format(**words), *(line.format(**words) for line in lines))
    document = json.loads(answer.body)
    assert (answer.status, document["error"]) == (status, error), document
    assert document.keys() == {"error", "error_description"}
    assert document["error_description"].isascii()
    assert not set(document["error_description"]) & set('"\\')
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith("application/json")
    assert ("www-authenticate" in answer.headers) is (status == 401)
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Basic realm="keyservice"'
    assert await stored_rows(premises.services.database) == before
    secrets = (words[name] for name in ("token", "unknown", "revoked", "wrong", "jwt"))
    assert not any(secret in f"{answer.headers}{answer.body.decode()}" for secret in secrets)


@pytest.mark.parametrize(
    "kind", ["Content-Type: text/plain", "Content-Type: multipart/form-data", "Accept: */*", f"{FORM}; charset=latin-1"]
)
async def test_a_body_of_another_type_is_refused(premises: Premises, words: dict[str, str], kind: str) -> None:
    answer = await asked(premises, GRANT, GOOD.format(**words), kind=kind)
    assert (answer.status, json.loads(answer.body)["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("body", ["[]", '"grant"', "{", '{"grant_type":["client_credentials"]}', '{"grant_type":null}'])
async def test_a_json_body_is_one_object_of_texts(premises: Premises, words: dict[str, str], body: str) -> None:
    answer = await asked(premises, body, GOOD.format(**words), kind=JSON)
    assert (answer.status, json.loads(answer.body)["error"]) == (400, "invalid_request")


async def test_other_methods_are_refused_and_the_keys_have_problem_documents(premises: Premises) -> None:
    wrong = await premises.served.get("/iam/tokens")
    assert (wrong.status, wrong.headers["allow"], json.loads(wrong.body)["error"]) == (405, "POST", "invalid_request")
    other = await premises.served.send(request("DELETE /iam/keys HTTP/1.1"))
    assert (other.status, other.problem["status"]) == (405, 405)
