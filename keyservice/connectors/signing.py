"""Signatures of requests, after the schemes that publishers document.

What a scheme digests differs in little: which values, in which order, with what between and before them, and where the
secret goes. Bytes are those that are sent: a form in ISO-8859-1 is digested in ISO-8859-1.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keyservice.connectors.calls import RequestParts
from keyservice.connectors.document import Signature
from keyservice.connectors.encoding import NotSendable, encode_form, encode_text

RenderTemplate = Callable[[str, Mapping[str, str]], str]
"""Renders a template with the call's context and these members besides."""

_SECRET_MARK: Final = "{{secret}}"  # noqa: S105 - where a listed template wants the secret
_HASHES: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {
    "md5": hashes.MD5,
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_PHP_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")


def sign(
    parts: RequestParts, signature: Signature, secrets: Mapping[str, str], render: RenderTemplate, *, now: datetime
) -> RequestParts:
    """The request with its signature in place.

    A template that says `{{.Date}}` gets the time of sending, and the request a header `Date` that says the same. Raises
    NotSendable for a private key that cannot be read.
    """
    date = format_datetime(now.astimezone(UTC), usegmt=True)
    secret = b"" if signature.secret_place == "none" else secrets[signature.secret].encode()  # noqa: S105
    message = _message(parts, signature, secret, lambda template: render(template, {"Date": date}))
    digest = _digest(message, signature, secret)
    shown = render(signature.value, {"Signature": _written(digest, signature), "Date": date})
    signed = placed(parts, signature, shown)
    if any(".Date" in template for template in (*signature.listed, signature.value)):
        signed.headers = [(name, value) for name, value in signed.headers if name.lower() != "date"] + [("Date", date)]
    return signed


def _message(parts: RequestParts, signature: Signature, secret: bytes, render: Callable[[str], str]) -> bytes:
    values = _values(parts, signature, secret, render)
    if signature.secret_place == "append":  # noqa: S105
        values = [*values, secret]
    elif signature.secret_place == "prepend":  # noqa: S105
        values = [secret, *values]
    if signature.is_length_prefixed:
        values = [str(len(value)).encode() + value for value in values]
    return signature.separator.encode().join(values)


def _values(parts: RequestParts, signature: Signature, secret: bytes, render: Callable[[str], str]) -> list[bytes]:
    match signature.values:
        case "form-values":
            return [value for _, value in _parameters(parts.form or [], signature, parts.form_charset)]
        case "query-values":
            return [value for _, value in _parameters(parts.query, signature, "utf-8")]
        case "php-serialized-form":
            return [php_serialized(_parameters(parts.form or [], signature, parts.form_charset))]
        case "body":
            return [_body(parts, signature)]
        case "listed":
            return [
                secret.join(encode_text(render(piece), parts.form_charset) for piece in template.split(_SECRET_MARK))
                for template in signature.listed
            ]
        case _:
            assert_never(signature.values)


def _parameters(pairs: list[tuple[str, str]], signature: Signature, charset: str) -> list[tuple[bytes, bytes]]:
    encoded = [
        (encode_text(name, charset), encode_text(value, charset)) for name, value in pairs if name != signature.name
    ]
    return sorted(encoded, key=lambda pair: pair[0]) if signature.order == "by-name" else encoded


def _body(parts: RequestParts, signature: Signature) -> bytes:
    if parts.form is None:
        return parts.body or b""
    return encode_form([pair for pair in parts.form if pair[0] != signature.name], parts.form_charset)


def php_serialized(parameters: list[tuple[bytes, bytes]]) -> bytes:
    """PHP's `serialize` of an array of strings; of a name that comes twice the last value counts, in the first place."""
    members = [
        (b"i:%b;" % name if _PHP_INTEGER.fullmatch(name.decode("latin-1")) else b's:%d:"%b";' % (len(name), name))
        + b's:%d:"%b";' % (len(value), value)
        for name, value in dict(parameters).items()
    ]
    return b"a:%d:{%b}" % (len(members), b"".join(members))


def _digest(message: bytes, signature: Signature, secret: bytes) -> bytes:
    if signature.secret_place == "hmac":  # noqa: S105
        return hmac.digest(secret, message, signature.algorithm)
    if signature.secret_place == "private-key":  # noqa: S105
        return _rsa_key(secret).sign(message, PKCS1v15(), _HASHES[signature.algorithm]())
    # Publishers ask for MD5 and SHA-1; whoever has the choice takes another.
    return hashlib.new(signature.algorithm, message, usedforsecurity=False).digest()


@lru_cache(maxsize=256)
def _rsa_key(pem: bytes) -> RSAPrivateKey:
    """Read once: that takes longer than a call. Raises NotSendable."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise NotSendable("secret-refused") from None
    if not isinstance(key, RSAPrivateKey):
        raise NotSendable("secret-refused")
    return key


def _written(digest: bytes, signature: Signature) -> str:
    match signature.encoding:
        case "hex":
            return digest.hex()
        case "hex-upper":
            return digest.hex().upper()
        case "base64":
            return base64.b64encode(digest).decode()
        case "base64url":
            return base64.urlsafe_b64encode(digest).decode()
        case _:
            assert_never(signature.encoding)


def placed(parts: RequestParts, signature: Signature, shown: str) -> RequestParts:
    """The request with this text where the signature stands."""
    match signature.place:
        case "form":
            return replace(parts, form=_with(parts.form or [], signature.name, shown))
        case "query":
            return replace(parts, query=_with(parts.query, signature.name, shown))
        case "header":
            others = [(name, value) for name, value in parts.headers if name.lower() != signature.name.lower()]
            return replace(parts, headers=[*others, (signature.name, shown)])
        case _:
            assert_never(signature.place)


def _with(pairs: list[tuple[str, str]], name: str, value: str) -> list[tuple[str, str]]:
    """With the value where the name stands already, or at the end."""
    if any(name == existing for existing, _ in pairs):
        return [(existing, value if existing == name else old) for existing, old in pairs]
    return [*pairs, (name, value)]
