"""How a signature and an instant stand in a document that can be verified offline."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import PlainSerializer, WithJsonSchema

from keyservice.api.answering import AnswerModel
from keyservice.crypto.signing import ALGORITHM, written
from keyservice.domain.canonical import instant_text
from keyservice.fulfillment.sign_document import Signature

Instant = Annotated[
    datetime, PlainSerializer(instant_text, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""In UTC, always with six digits behind the second: hashes and signatures cover the text."""

HexHash = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$"})]


class SignatureDocument(AnswerModel):
    """An Ed25519 signature; `keyservice statements verify` checks it without the service."""

    algorithm: Literal["Ed25519"]
    key_id: str
    """Which of the statement keys signed."""

    value: str
    """64 bytes in base64."""


def signature_document(signature: Signature) -> SignatureDocument:
    return SignatureDocument(algorithm=ALGORITHM, key_id=signature.key_id, value=written(signature.value))
