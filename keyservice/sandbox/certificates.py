"""Certificates of the sandbox publisher, good and bad, made when it starts and thrown away with it."""

import datetime
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


@dataclass(frozen=True, slots=True)
class Certificates:
    """A root of the publisher's own, and what it has signed."""

    made_at: datetime.datetime
    _root: _Pair = field(repr=False)
    _client: _Pair = field(repr=False)

    @classmethod
    def made(cls, now: datetime.datetime) -> "Certificates":
        root = _signed("keyservice sandbox root", now, is_root=True)
        return cls(now, root, _signed("keyservice", now, by=root, usage=ExtendedKeyUsageOID.CLIENT_AUTH))

    @property
    def root_pem(self) -> str:
        """What a connector has to trust (`transport.ca_certificate`)."""
        return self._root.certificate_pem

    @property
    def client_pem(self) -> str:
        """What a connector shows when that is demanded (`transport.client_certificate`)."""
        return self._client.certificate_pem

    @property
    def client_key_pem(self) -> str:
        """The secret `client_key`."""
        return self._client.key_pem

    def server_context(self, kind: str, *, demands_client_certificate: bool = False) -> ssl.SSLContext:
        """For a server whose certificate is `good`, `self-signed`, `expired` or of a `wrong-name`."""
        pair = self._server(kind)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Python's ssl reads certificates from files only.
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "server.pem"
            path.touch(mode=0o600)
            path.write_text(pair.key_pem + pair.certificate_pem)
            context.load_cert_chain(path)
        if demands_client_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.root_pem)
        return context

    def _server(self, kind: str) -> _Pair:
        match kind:
            case "self-signed":
                return _signed("localhost", self.made_at)
            case "expired":
                return _signed("localhost", self.made_at - datetime.timedelta(days=2 * _DAYS), by=self._root)
            case "wrong-name":
                return _signed("other.example", self.made_at, by=self._root)
            case _:
                return _signed("localhost", self.made_at, by=self._root)


def _signed(
    name: str,
    now: datetime.datetime,
    *,
    by: _Pair | None = None,
    is_root: bool = False,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if by is None else by.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if is_root:
        builder = builder.add_extension(_ROOT_USAGE, critical=True)
    else:
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return _Pair(builder.sign(signer, hashes.SHA256()), key)


_ROOT_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
