"""Signatures byte for byte: golden values come from published vectors, or from `openssl` on the bytes that are spelled out."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyservice.connectors.calls import RequestParts
from keyservice.connectors.document import Signature
from keyservice.connectors.encoding import NotSendable
from keyservice.connectors.rendering import render_text
from keyservice.connectors.signing import sign

NOW = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


def signed(parts: RequestParts, secret: str, context: Mapping[str, Any] | None = None, **members: Any) -> RequestParts:
    signature = Signature.model_validate({"place": "form", "name": "hash", **members})

    def render(source: str, extra: Mapping[str, str]) -> str:
        return render_text(source, context or {}, extra, field="signature")

    return sign(parts, signature, {"signature": secret}, render, now=NOW)


def form(*pairs: tuple[str, str], charset: str = "utf-8") -> RequestParts:
    return RequestParts("POST", "https://publisher.test/", form=list(pairs), form_charset=charset)


def value(parts: RequestParts, name: str = "hash") -> str:
    pairs = [*(parts.form or []), *parts.query, *parts.headers]
    return next(text for found, text in pairs if found == name)


def test_fastspring_sorts_by_name_joins_the_values_and_appends_the_private_key() -> None:
    # printf %s 1EURada@example.comREF-9private | openssl md5
    parts = form(("reference", "REF-9"), ("email", "ada@example.com"), ("currency", "EUR"), ("amount", "1"))
    done = signed(parts, "private", values="form-values", order="by-name", algorithm="md5", secret_place="append")
    assert value(done) == "c83eb06ddb1bb3b8b8ce740e42044995"


def test_the_bytes_that_are_signed_are_those_that_are_sent() -> None:
    # The same name in ISO-8859-1, with the key behind it.
    parts = form(("name", "Müller"), charset="iso-8859-1")
    done = signed(parts, "private", values="form-values", algorithm="md5", secret_place="append")
    assert value(done) == "56606deddc42daa46c8010f74bbffd4c"


def test_2checkout_puts_the_length_before_each_value() -> None:
    # printf %s 477771a | openssl dgst -md5 -hmac SECRETKEY
    parts = form(("REFNO", "7777"), ("QUANTITY", "a"))
    done = signed(parts, "SECRETKEY", values="form-values", is_length_prefixed=True, algorithm="md5")
    assert value(done) == "5beb0d014eb4fc4903b349c18693942b"


def test_paypro_hashes_the_order_with_the_secret() -> None:
    # printf %s 77secret | openssl md5
    listed = {"values": "listed", "listed": ["{{.Order}}"]}
    done = signed(form(), "secret", {"Order": "77"}, **listed, algorithm="md5", secret_place="append")
    assert value(done) == "0a8496a09ed2155c1091147e9880f2f3"


def test_paypro_signs_listed_values_with_the_secret_among_them() -> None:
    # printf %s 77Processed19.90ada@example.comvalidation-key0LicenseRequested | openssl sha256
    listed = ["{{.Order}}", "Processed", "{{.Total}}", "{{.Email}}", "{{secret}}", "0", "LicenseRequested"]
    context = {"Order": "77", "Total": "19.90", "Email": "ada@example.com"}
    done = signed(
        form(), "validation-key", context, values="listed", listed=listed, algorithm="sha256", secret_place="listed"
    )
    assert value(done) == "98af788c4532d9beca55c4b62cca5494b39c976c2655cc488e0557144ff543a8"


def test_licensespring_signs_the_date_that_it_sends() -> None:
    # printf 'licenseSpring\ndate: Sat, 02 Jan 2027 03:04:05 GMT' | openssl dgst -sha256 -hmac shared-key -binary | openssl base64
    done = signed(
        RequestParts("GET", "https://publisher.test/"),
        "shared-key",
        values="listed",
        listed=["licenseSpring\ndate: {{.Date}}"],
        algorithm="sha256",
        encoding="base64",
        place="header",
        name="Authorization",
        value='algorithm="hmac-sha256",headers="date",signature="{{.Signature}}",apikey="k"',
    )
    assert 'signature="DNPwNFcdnurG8iXbOZyrOvv2x2XrGllrsZZx3+E3kRY="' in value(done, "Authorization")
    assert value(done, "Date") == "Sat, 02 Jan 2027 03:04:05 GMT"


def test_php_serializes_names_of_digits_as_integers_and_counts_bytes() -> None:
    # printf 'a:2:{s:1:"a";s:3:"x y";i:7;s:2:"ä";}' | openssl sha1
    parts = form(("a", "x y"), ("7", "ä"))
    done = signed(parts, "", values="php-serialized-form", algorithm="sha1", secret_place="none")
    assert value(done) == "d1e238a7eb2d1baeacad71fb794a922336f3dab0"


@pytest.mark.parametrize(
    ("algorithm", "key", "body", "digest"),
    [
        # RFC 2202, section 2, case 2, and section 3, case 2.
        ("md5", "Jefe", "what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"),
        ("sha1", "Jefe", "what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        # RFC 4231, section 4.3.
        (
            "sha256",
            "Jefe",
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
    ],
)
def test_a_body_is_signed_as_the_published_vectors_are(algorithm: str, key: str, body: str, digest: str) -> None:
    parts = RequestParts("POST", "https://publisher.test/", body=body.encode())
    done = signed(parts, key, values="body", algorithm=algorithm, place="header", name="X-Signature")
    assert value(done, "X-Signature") == digest
    upper = signed(parts, key, values="body", algorithm=algorithm, place="query", name="sig", encoding="hex-upper")
    assert value(upper, "sig") == digest.upper()


def test_paddle_signs_what_php_serializes_with_a_private_key() -> None:
    key = rsa.generate_private_key(65_537, 2_048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    parts = form(("p_order_id", "77"), ("cust_email", "ada@example.com"))
    scheme: dict[str, Any] = {
        "values": "php-serialized-form",
        "order": "by-name",
        "algorithm": "sha1",
        "secret_place": "private-key",
    }
    done = signed(parts, pem, **scheme, encoding="base64", name="p_signature")
    message = b'a:2:{s:10:"cust_email";s:15:"ada@example.com";s:10:"p_order_id";s:2:"77";}'
    key.public_key().verify(base64.b64decode(value(done, "p_signature")), message, PKCS1v15(), SHA1())  # noqa: S303
    again = signed(done, pem, **scheme, encoding="base64", name="p_signature")
    assert again.form == done.form


@pytest.mark.parametrize("pem", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_private_key_of_the_kind_signs_nothing(pem: str) -> None:
    scheme: dict[str, Any] = {"values": "form-values", "algorithm": "sha256", "secret_place": "private-key"}
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for wrong in (pem, curve.decode()):
        with pytest.raises(NotSendable) as refused:
            signed(form(("a", "b")), wrong, **scheme)
        assert refused.value.code == "secret-refused"


def test_a_signature_does_not_sign_itself_and_takes_its_place() -> None:
    parts = form(("hash", "old"), ("reference", "REF-9"))
    once = signed(parts, "private", values="form-values", algorithm="md5", secret_place="append")
    again = signed(once, "private", values="form-values", algorithm="md5", secret_place="append")
    assert once.form == again.form
    assert [name for name, _ in once.form or []] == ["hash", "reference"]
