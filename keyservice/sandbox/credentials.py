"""Who may ask the sandbox publisher, and how it finds out."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyservice.sandbox.asked import Reason, Refused
from keyservice.sandbox.incoming import Incoming

_RSA_EXPONENT: Final = 65_537
_RSA_BITS: Final = 2_048


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    """One for each process, made when it is first needed: it takes long, and has no seed."""
    return rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS)


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set for all protocols; the names are those under which connectors keep their secrets."""

    user: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    api_key: str = field(repr=False)
    signature: str = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)

    @classmethod
    def of(cls, seed: str) -> "Credentials":
        """The same for the same seed."""
        made = {
            name: hmac.digest(seed.encode(), name.encode(), hashlib.sha256).hex()[:24]
            for name in ("password", "token", "api_key", "signature", "client_secret")
        }
        return cls(user="keyservice", client_id="keyservice-client", **made)

    @property
    def secrets(self) -> dict[str, str]:
        names = ("password", "token", "api_key", "signature", "client_secret")
        return {name: getattr(self, name) for name in names}

    @property
    def signing_key(self) -> str:
        """A private key in PEM: whoever asks signs with it, where the protocol wants that."""
        return _rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        return _rsa_key().public_key()


def require_basic(incoming: Incoming, credentials: Credentials) -> None:
    """RFC 7617. Raises Refused."""
    require_basic_of(incoming, credentials.user, credentials.password)


def require_basic_of(incoming: Incoming, user: str, password: str) -> None:
    scheme, _, encoded = incoming.header("Authorization").partition(" ")
    try:
        sent = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        sent = b""
    if scheme.lower() != "basic" or not hmac.compare_digest(sent, f"{user}:{password}".encode()):
        raise Refused(Reason.UNAUTHORIZED, "user or password is wrong")


def require_header(incoming: Incoming, name: str, value: str) -> None:
    """The header has exactly this value. Raises Refused."""
    if not hmac.compare_digest(incoming.header(name).encode(), value.encode()):
        raise Refused(Reason.UNAUTHORIZED, f"the header {name} does not open this door")


def require_signature(sent: str, wanted: str) -> None:
    """Raises Refused; an absent signature is a wrong one."""
    if not hmac.compare_digest(sent.encode(), wanted.encode()):
        raise Refused(Reason.UNAUTHORIZED, "the signature is wrong or missing")
