"""Presets with what their publishers would tell: here it is the sandbox publisher that does."""

from typing import Any, Final

from keyservice.connectors.document import ConnectorDocument, OAuth2Authentication
from keyservice.connectors.presets import preset
from keyservice.sandbox.made_keys import KEY_PATTERN
from keyservice.sandbox.publisher import Publisher

_EVERYBODYS: Final = {
    "base_url": "https://publisher.test",
    "authentication.user": "keyservice",
    "parameters.account": "acme",
    "parameters.policy": "p-1",
    "parameters.product": "x-1",
    "parameters.product_code": "XC1",
    "key_law.pattern": KEY_PATTERN,
}
_OWN: Final[dict[str, dict[str, str]]] = {
    "2checkout": {"operations.create.keys.0.path": ".//Code", "operations.create.signature.algorithm": "sha256"},
    "alibaba-wuying": {"operations.create.keys.0.path": "$.licenses[*]"},
    "codeswholesale": {
        "authentication.token_url": "https://publisher.test/oauth/token",
        "authentication.client_id": "keyservice-client",
        "operations.create.path": "/orders",
        "operations.create.keys.0.path": "$.codes[*].code",
    },
    "eneba": {"operations.create.keys.0.path": "$.keys[*]"},
    "huawei": {"operations.create.keys.0.path": "$.license"},
    "huawei-async": {
        "operations.create.success.0.value.path": "$.resultCode",
        "operations.create.success.0.equals": "accepted",
    },
    "kinguin": {
        "operations.create.license_id.path": "$.orderId",
        "operations.look_up.keys.0.path": "$[*].serial",
    },
    "sellix": {"operations.create.signature.algorithm": "sha512"},
    "soap": {
        "operations.create.headers.0.value": "urn:sandbox:createLicense",
        "operations.create.keys.0.path": ".//key",
        "operations.cancel.headers.0.value": "urn:sandbox:cancelLicense",
    },
    "softline": {"operations.create.method": "POST"},
}


def filled(name: str) -> ConnectorDocument:
    """The preset, complete, for a publisher anywhere."""
    wanted = {part.path for part in preset(name).to_fill_in}
    told = {**_EVERYBODYS, **_OWN.get(name, {})}
    # A preset's own payload is one that the sandbox publisher understands.
    told |= {path: _text_at(name, path) for path in wanted if path not in told}
    return preset(name, fill_in={path: told[path] for path in wanted})


def preset_at(publisher: Publisher, name: str) -> ConnectorDocument:
    """The preset, complete, for this publisher."""
    document = filled(name)
    there: dict[str, object] = {"base_url": publisher.url_of(name)}
    if isinstance(document.authentication, OAuth2Authentication):
        url = f"{publisher.url_of(name)}/oauth/token"
        there["authentication"] = document.authentication.model_copy(update={"token_url": url})
    return document.model_copy(update=there)


def secrets_of(publisher: Publisher, document: ConnectorDocument) -> dict[str, str]:
    """Those that open this publisher's doors to a connector."""
    secrets = publisher.credentials.secrets
    if "signing_key" in document.secret_names:
        secrets["signing_key"] = publisher.credentials.signing_key
    return secrets


def _text_at(name: str, path: str) -> str:
    place: Any = preset(name).model_dump(mode="json")
    for member in path.split("."):
        place = place[int(member) if isinstance(place, list) else member]
    assert isinstance(place, str)
    assert place, f"{name} has nothing at {path}, and the test neither"
    return place
