"""A connector as data: one validated document that says how a publisher's API is asked and when its answer is believed.

All texts that are sent are templates (`connectors.templates`); members whose names end in `_secret` name a secret of the
connector, which lies sealed beside the document and never in it.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from keyservice.domain.connector import Capabilities, ConnectorOperation, Refusal

TEMPLATE_CHARACTERS_MAX: Final = 65_536

Template = Annotated[str, Field(max_length=TEMPLATE_CHARACTERS_MAX)]
ShortText = Annotated[str, Field(max_length=1_024)]
Pattern = Annotated[str, Field(max_length=512)]
"""A regular expression without backtracking references; it has to match all of the text."""

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]
SecretName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
HttpStatus = Annotated[str, Field(pattern=r"^[1-5](xx|[0-9][0-9])$")]
"""One status, or a class of them: "404", "2xx"."""


class Part(BaseModel):
    """What all parts of a document have in common: nothing unknown is taken, and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


# ---------------------------------------------------------------------------------------------------- who we are
class NoAuthentication(Part):
    """Whoever knows the address may ask."""

    kind: Literal["none"] = "none"


class BasicAuthentication(Part):
    """RFC 7617."""

    kind: Literal["basic"]
    user: ShortText
    password_secret: SecretName = "password"  # noqa: S105 - the name of a secret


class BearerAuthentication(Part):
    """`Authorization: Bearer <token>` (RFC 6750)."""

    kind: Literal["bearer"]
    token_secret: SecretName = "token"  # noqa: S105 - the name of a secret


class HeaderAuthentication(Part):
    """A header of the publisher's own, such as `Authorization: Api-Key <key>`."""

    kind: Literal["header"]
    name: HeaderName
    prefix: ShortText = ""
    value_secret: SecretName = "api_key"  # noqa: S105 - the name of a secret


class OAuth2Authentication(Part):
    """OAuth2 client credentials (RFC 6749, section 4.4); tokens are kept until shortly before they expire."""

    kind: Literal["oauth2"]
    token_url: ShortText
    client_id: ShortText
    client_secret: SecretName = "client_secret"  # noqa: S105 - the name of a secret
    scope: ShortText = ""
    audience: ShortText = ""
    client_place: Literal["basic", "body"] = "basic"


Authentication = Annotated[
    NoAuthentication | BasicAuthentication | BearerAuthentication | HeaderAuthentication | OAuth2Authentication,
    Field(discriminator="kind"),
]


class Transport(Part):
    """How the connection is proved: a root of the publisher's own, a certificate of ours (both PEM)."""

    ca_certificate: Annotated[str, Field(max_length=65_536)] | None = None
    client_certificate: Annotated[str, Field(max_length=65_536)] | None = None
    client_key_secret: SecretName = "client_key"  # noqa: S105 - the name of a secret


# ---------------------------------------------------------------------------------------------------- what is sent
class NamedTemplate(Part):
    """A parameter of a query or form, or a header. With `is_optional` it is left out when its value is empty."""

    name: ShortText
    value: Template
    is_optional: bool = False


class FormBody(Part):
    """application/x-www-form-urlencoded, in this order."""

    kind: Literal["form"]
    fields: Annotated[tuple[NamedTemplate, ...], Field(max_length=200)]
    charset: Literal["utf-8", "iso-8859-1"] = "utf-8"


class TextBody(Part):
    """One template. In JSON and XML values are escaped where they are put in; plain text takes them as they are.

    SOAP is XML with its own media type and a `SOAPAction` among the headers. JSON or XML that does not parse is not sent.
    """

    kind: Literal["json", "xml", "soap", "text"]
    template: Template
    is_escaped: bool = True
    """False for a template that was written for Go's text/template and has to give the same bytes, quotes or not."""

    content_type: ShortText | None = None


class Signature(Part):
    """A request's signature: a digest over named values, in an order, put somewhere.

    `values` is what is digested: `form-values` and `query-values` the values of all parameters (less the signature's own)
    sorted by name, `listed` the templates in `listed`, `body` the bytes of the body. `length-prefixed` puts each value's
    length in bytes before it. The secret goes in as an HMAC's key, is appended or prepended as one more value, or is the key
    that signs.
    """

    values: Literal["form-values", "query-values", "listed", "body", "php-serialized-form"]
    listed: Annotated[tuple[Template, ...], Field(max_length=100)] = ()
    order: Literal["as-is", "by-name"] = "as-is"
    is_length_prefixed: bool = False
    separator: ShortText = ""
    algorithm: Literal["md5", "sha1", "sha256", "sha384", "sha512"]
    secret: SecretName = "signature"  # noqa: S105 - the name of a secret
    secret_place: Literal["hmac", "append", "prepend", "listed", "private-key", "none"] = "hmac"  # noqa: S105
    """`listed`: where a listed template says {{secret}}. `private-key`: it is an RSA key in PEM that signs the digest
    (RSASSA-PKCS1-v1_5, RFC 8017, section 8.2)."""

    encoding: Literal["hex", "hex-upper", "base64", "base64url"] = "hex"
    place: Literal["form", "query", "header"]
    name: ShortText
    value: Template = "{{.Signature}}"
    """What stands there, around the digest: `algorithm="hmac-sha256",signature="{{.Signature}}"`."""


# ---------------------------------------------------------------------------------------------------- what is believed
class Selector(Part):
    """Where in an answer a value stands. Several are given only where several are allowed (`all`, `split`)."""

    source: Literal["json", "xml", "body", "tag", "header"]
    path: ShortText = ""
    """JSONPath; an ElementTree path, in which `@name` at its end takes an attribute; a tag's name; a header's name."""

    all: bool = False
    split: Literal["none", "lines", "comma", "comma-tab", "semicolon", "white-space"] = "none"
    convert: Template | None = None
    """The reference's conversionTemplate: `{{.Value}}` is what was found."""


class KeySelector(Selector):
    """Where the keys stand. A key of several parts has its parts' labels; a file has a media type and a name."""

    label_path: ShortText | None = None
    """Of parts: JSONPath below each match, where its label stands. With it, all matches are the parts of one key."""

    value_path: ShortText | None = None
    """Where a part's value stands, likewise."""

    encoding: Literal["text", "base64"] = "text"
    mime: ShortText | None = None
    mime_path: Selector | None = None
    name_path: Selector | None = None


class Condition(Part):
    """A fact about an answer; every member that is given has to hold."""

    statuses: Annotated[tuple[HttpStatus, ...], Field(max_length=50)] = ()
    value: Selector | None = None
    equals: ShortText | None = None
    matches: Pattern | None = None
    is_empty: bool | None = None


class ErrorRule(Part):
    """An answer that is a documented refusal, or that proves that nothing was done. The first rule that holds decides."""

    when: Condition
    means: Refusal | Literal["not-executed", "accepted"]


class Operation(Part):
    """One request to the publisher, and what its answers mean.

    An answer is a success when `success` holds and, of the values that the reference knows, `success_flag` is "true" if
    it is there, and `error_code` is empty.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    path: Template = ""
    """Behind the base URL; what templates put into it is percent-encoded."""

    query: Annotated[tuple[NamedTemplate, ...], Field(max_length=100)] = ()
    headers: Annotated[tuple[NamedTemplate, ...], Field(max_length=50)] = ()
    body: Annotated[FormBody | TextBody, Field(discriminator="kind")] | None = None
    signature: Signature | None = None

    success: Annotated[tuple[Condition, ...], Field(max_length=20)] = (Condition(statuses=("2xx",)),)
    """All of them hold."""

    errors: Annotated[tuple[ErrorRule, ...], Field(max_length=50)] = ()
    keys: Annotated[tuple[KeySelector, ...], Field(max_length=5)] = ()
    """The first that finds something."""

    success_flag: Selector | None = None
    error_code: Selector | None = None
    error_message: Selector | None = None
    license_id: Selector | None = None
    echo: Selector | None = None
    """Where the answer repeats our reference: one to somebody else's request is then not believed."""

    additional: Annotated[dict[ShortText, Selector], Field(max_length=50)] = Field(default_factory=dict)


class KeyLaw(Part):
    """What may be a key of this publisher. Whatever is HTML, or no key by the law of all keys, never is one."""

    pattern: Pattern | None = None
    characters_min: Annotated[int, Field(ge=1, le=65_536)] = 1
    characters_max: Annotated[int, Field(ge=1, le=65_536)] = 1_024


class PermanentErrors(Part):
    """The reference's permanentErrorsDefinition: what is never tried again, whatever the operation."""

    error_codes: Annotated[tuple[ShortText, ...], Field(max_length=200)] = ()
    error_messages: Annotated[tuple[Pattern, ...], Field(max_length=50)] = ()
    http_statuses: Annotated[tuple[HttpStatus, ...], Field(max_length=50)] = ()


# ---------------------------------------------------------------------------------------------------- how long, how often
class Retry(Part):
    """Exponential backoff with full jitter."""

    attempts_max: Annotated[int, Field(ge=1, le=1_000)] = 30
    first_seconds: Seconds = 2
    factor: Annotated[float, Field(ge=1, le=10)] = 2
    longest_seconds: Seconds = 3_600
    give_up_seconds: Annotated[float, Field(gt=0, le=2_592_000)] = 259_200


class Breaker(Part):
    """After so many failures in a row nobody asks for a while; then one asks."""

    failures: Annotated[int, Field(ge=1, le=1_000)] = 8
    open_seconds: Seconds = 15


class DeclaredCapabilities(Part):
    """What the publisher promises."""

    repeat_is_idempotent: bool = False
    can_look_up: bool = False
    can_void: bool = False
    is_asynchronous: bool = False
    pushes_back: bool = False
    keys_are_shared: bool = False

    @property
    def for_resolving(self) -> Capabilities:
        """Those that tell how an unknown outcome is found out."""
        return Capabilities(self.repeat_is_idempotent, self.can_look_up, self.can_void)


class FillIn(Part):
    """What no document says of a protocol: the preset is not complete before this member has its value."""

    path: ShortText
    """A dotted path in the document, such as `operations.create.keys.0.path`."""

    hint: ShortText


class ConnectorDocument(Part):
    """All that is known of one publisher's API, but its secrets."""

    preset: ShortText | None = None
    """What it was made from, for the record."""

    base_url: ShortText
    authentication: Authentication = NoAuthentication()
    transport: Transport = Transport()
    operations: Annotated[dict[ConnectorOperation, Operation], Field(min_length=1)]
    parameters: Annotated[dict[ShortText, ShortText], Field(max_length=50)] = Field(default_factory=dict)
    """The publisher's own constants, `{{.Parameters.name}}` in templates: an account, a policy, a product code."""

    test_parameters: Annotated[dict[ShortText, ShortText], Field(max_length=50)] = Field(default_factory=dict)
    """These come in their place in orders of sandbox callers and in a connector that is being tested."""

    key_law: KeyLaw = KeyLaw()
    permanent_errors: PermanentErrors = PermanentErrors()
    capabilities: DeclaredCapabilities = DeclaredCapabilities()
    request_per: Literal["unit", "line"] = "unit"
    """One request for each wanted key, or one for all keys of an order line."""

    answer_bytes_max: Annotated[int, Field(ge=1_024, le=8_388_608)] = 1_048_576
    connect_seconds: Seconds = 3
    budget_seconds: Seconds = 10
    """For one call, from the first look-up of its address to the last byte of the answer."""

    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 16
    """Calls at once, in each process."""

    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    poll_seconds: Seconds = 5
    """How often an asynchronous publisher is asked again."""

    surplus: Literal["void", "pool", "hold"] = "void"
    """What becomes of a key that comes when nobody wants it any more: it is cancelled upstream, is sold from
    `surplus_pool`, or waits for a person."""

    surplus_pool: Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")] | None = None
    to_fill_in: Annotated[tuple[FillIn, ...], Field(max_length=50)] = ()

    @property
    def secret_names(self) -> frozenset[str]:
        """Every secret that the document refers to."""
        return frozenset(_secret_names(self.model_dump(mode="python")))


def _secret_names(value: Any, name: str = "", parent: dict[str, Any] | None = None) -> list[str]:
    if isinstance(value, dict):
        return [found for key, member in value.items() for found in _secret_names(member, str(key), value)]
    if isinstance(value, (list, tuple)):
        return [found for member in value for found in _secret_names(member)]
    is_used = (
        name in ("password_secret", "token_secret", "value_secret", "client_secret")
        or (name == "client_key_secret" and parent is not None and parent.get("client_certificate") is not None)
        or (name == "secret" and parent is not None and parent.get("secret_place", "none") != "none")
    )
    return [value] if is_used else []
