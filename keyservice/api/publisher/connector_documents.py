"""Connectors, handshakes and previewed requests as JSON documents, and the bodies that make and change them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from keyservice.api.answering import NEXT_PAGE, AnswerModel
from keyservice.api.asking import Name, StrictModel, shown_as
from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.engine import PreviewedRequest
from keyservice.connectors.linting import buyer_fields
from keyservice.domain.connector import CallOutcome, ConnectorOperation, ConnectorRefused, Refusal
from keyservice.fulfillment.keep_connector_secrets import SECRET_CHARACTERS_MAX
from keyservice.fulfillment.shake_hands import Handshake
from keyservice.fulfillment.stored_connector import ConnectorState, ConnectorView

Document = dict[str, Any]


class NewConnector(StrictModel):
    """The body that makes a connector: from a preset, or from a document of one's own."""

    model_config = shown_as(
        name="our license server",
        preset="nexway",
        fill_in={"base_url": "https://licenses.example.com", "authentication.user": "nexway"},
    )

    name: Name
    preset: Annotated[str, Field(max_length=64)] | None = None
    """One of those that `/publisher/connector-presets` lists."""

    fill_in: Annotated[dict[str, Annotated[str, Field(max_length=1_024)]], Field(max_length=50)] = Field(
        default_factory=dict
    )
    """Values for what the preset leaves open, by dotted path."""

    document: Document | None = None
    """The whole document, in the place of a preset."""

    @model_validator(mode="after")
    def _says_which(self) -> "NewConnector":
        if (self.preset is None) is (self.document is None):
            raise ValueError("give a preset or a document, one of the two")
        return self


class NewVersion(StrictModel):
    """The body that makes a new version of a connector's document."""

    model_config = shown_as(edited_version=1, document={"base_url": "https://licenses.example.com", "operations": {}})

    edited_version: Annotated[int, Field(ge=1, le=1_000_000)]
    """The version that was read and changed: the newest one, or somebody else has been faster."""

    document: Document


class NewSecrets(StrictModel):
    """The body that gives a connector secrets. They are never shown again."""

    model_config = shown_as(secrets={"password": "as the publisher gave it"})

    secrets: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")],
            Annotated[str, Field(min_length=1, max_length=SECRET_CHARACTERS_MAX)],
        ],
        Field(min_length=1, max_length=20),
    ]


class NewHandshake(StrictModel):
    """The body that has a connector tried."""

    model_config = shown_as(issue_and_void=True)

    issue_and_void: bool = False
    """Ask for a key as a test, and take it back."""


class ConnectorSwitch(StrictModel):
    """The body that says whether a connector is used."""

    model_config = shown_as(state="enabled")

    state: Literal["testing", "enabled", "disabled"]
    """`testing`: only test orders. `enabled` needs a good handshake of the newest version."""


class PreviewWanted(StrictModel):
    """The body that asks for a look at a request."""

    model_config = shown_as(operation="create")

    operation: Literal["create", "cancel", "renew", "upgrade", "pause", "resume", "look_up", "reserve"]


class SecretDocument(AnswerModel):
    """That there is a secret, and since when. Not what it is."""

    name: str
    updated_at: datetime


class BuyerFieldDocument(AnswerModel):
    """A fact about the buyer that leaves the house."""

    path: str
    """Where in the document the template stands that sends it."""

    name: str


class ConnectorListedDocument(AnswerModel):
    """How a connector stands."""

    connector_id: UUID
    name: str
    state: ConnectorState
    version: int
    """The version in use."""

    created_at: datetime
    updated_at: datetime


class ConnectorDocumentAnswer(ConnectorListedDocument):
    """A connector with its newest version."""

    newest_version: int
    document: dict[str, Any]
    handshake_at: datetime | None
    is_handshake_good: bool
    """Of the newest version."""

    secrets: list[SecretDocument]
    missing_secrets: list[str]
    buyer_fields: list[BuyerFieldDocument]


class ConnectorPage(AnswerModel):
    """A page of connectors, oldest first."""

    connectors: list[ConnectorListedDocument]
    after: Annotated[UUID | None, NEXT_PAGE]


class HeaderDocument(AnswerModel):
    """A header of a request."""

    name: str
    value: str


class RequestDocument(AnswerModel):
    """A request as it is sent, with every secret masked."""

    method: str
    url: str
    headers: list[HeaderDocument]
    body: str | None


class HandshakeStepDocument(AnswerModel):
    """One call of a handshake."""

    operation: ConnectorOperation
    purpose: str
    is_good: bool
    sent: RequestDocument | None
    outcome: CallOutcome
    refusal: Refusal | None
    code: str
    http_status: int | None
    seconds: float


class HandshakeDocument(AnswerModel):
    """What trying a connector came to."""

    version: int
    is_good: bool
    at: datetime
    steps: list[HandshakeStepDocument]
    advice: str
    """What to do next, when it was not good."""


class FillInDocument(AnswerModel):
    """What a preset leaves open."""

    path: str
    hint: str


class PresetDocument(AnswerModel):
    """A protocol that is known."""

    name: str
    to_fill_in: list[FillInDocument]
    secrets: list[str]
    operations: list[ConnectorOperation]


class PresetList(AnswerModel):
    """All presets."""

    presets: list[PresetDocument]


def connector_answer(view: ConnectorView) -> ConnectorDocumentAnswer:
    listed, newest = view.listed, view.newest
    return ConnectorDocumentAnswer(
        connector_id=listed.connector_id,
        name=listed.name,
        state=listed.state,
        version=listed.version,
        created_at=listed.created_at,
        updated_at=listed.updated_at,
        newest_version=newest.version,
        document=newest.document.model_dump(mode="json", exclude_defaults=True),
        handshake_at=newest.handshake_at,
        is_handshake_good=newest.is_handshake_good,
        secrets=[SecretDocument.model_validate(secret) for secret in view.secrets],
        missing_secrets=list(view.missing_secrets),
        buyer_fields=[BuyerFieldDocument.model_validate(one) for one in _buyer_fields(newest.document)],
    )


def _buyer_fields(document: ConnectorDocument) -> tuple[object, ...]:
    try:
        return buyer_fields(document)
    except ConnectorRefused:
        # A draft whose templates do not compile yet sends nothing.
        return ()


def handshake_document(handshake: Handshake) -> HandshakeDocument:
    return HandshakeDocument(
        version=handshake.version,
        is_good=handshake.is_good,
        at=handshake.at,
        steps=[
            HandshakeStepDocument(
                operation=step.operation,
                purpose=step.purpose,
                is_good=step.is_good,
                sent=None if step.sent is None else request_document(step.sent),
                outcome=step.outcome,
                refusal=step.refusal,
                code=step.code,
                http_status=step.http_status,
                seconds=step.seconds,
            )
            for step in handshake.steps
        ],
        advice=handshake.advice,
    )


def request_document(found: PreviewedRequest) -> RequestDocument:
    headers = [HeaderDocument(name=name, value=value) for name, value in found.headers]
    return RequestDocument(method=found.method, url=found.url, headers=headers, body=found.body)
