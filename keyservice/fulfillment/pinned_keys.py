"""The public keys that a publisher has put aside, to verify with them what the service signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from keyservice.crypto.signing import ALGORITHM, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, read_bytes, verify
from keyservice.domain.errors import Invalid, KeyserviceError, Tampered

# The clocks of the database and of the process that signs may differ by so much.
_CLOCKS_DIFFER: Final = timedelta(hours=1)


class NotAuthentic(KeyserviceError):
    """A document that is not what the service signed; the message says where and what is wrong."""

    code = "not-authentic"

    def __init__(self, place: str, wrong: str) -> None:
        super().__init__(f"{place}: {wrong}" if place else wrong)


class _PublicKey(BaseModel):
    model_config = ConfigDict(extra="ignore")

    key_id: str
    algorithm: Literal["Ed25519"]
    public_key: str
    signs_from: AwareDatetime
    signs_until: AwareDatetime


class _PublicKeys(BaseModel):
    keys: list[_PublicKey]


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """A public key, and when it signed."""

    public: Ed25519PublicKey
    signs_from: datetime
    signs_until: datetime


def read_pinned_keys(content: bytes) -> dict[str, PinnedKey]:
    """What `keyservice statements keys` saved. Raises Invalid."""
    try:
        listed = _PublicKeys.model_validate_json(content)
        return {
            one.key_id: PinnedKey(
                Ed25519PublicKey.from_public_bytes(read_bytes(one.public_key, PUBLIC_KEY_BYTES)),
                one.signs_from,
                one.signs_until,
            )
            for one in listed.keys
        }
    except (ValidationError, Tampered, ValueError):
        raise Invalid("this is not a file of statement keys, as `keyservice statements keys` saves it") from None


def verify_signature(
    keys: Mapping[str, PinnedKey], purpose: str, content: bytes, signature: Any, made_at: Any, *, place: str
) -> str:
    """The id of the key that signed this content at that time. Raises NotAuthentic."""
    if not isinstance(signature, dict) or set(signature) != {"algorithm", "key_id", "value"}:
        raise NotAuthentic(place, "the signature does not have the members that it should have")
    key_id, value = signature["key_id"], signature["value"]
    if signature["algorithm"] != ALGORITHM or not isinstance(key_id, str) or not isinstance(value, str):
        raise NotAuthentic(place, f"the signature is not one by {ALGORITHM}")
    key = keys.get(key_id)
    if key is None:
        raise NotAuthentic(
            place, "signed by a key that is not among the pinned ones; fetch the keys again if it is new"
        )
    try:
        verify(key.public, purpose, key_id, content, read_bytes(value, SIGNATURE_BYTES))
    except Tampered as error:
        raise NotAuthentic(place, str(error)) from None
    if not key.signs_from - _CLOCKS_DIFFER <= _instant(made_at, place) <= key.signs_until + _CLOCKS_DIFFER:
        raise NotAuthentic(place, "it says that it was made at a time when this key did not sign")
    return key_id


def _instant(text: Any, place: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant
    except (TypeError, ValueError):
        pass
    raise NotAuthentic(place, "it does not say when it was made")
