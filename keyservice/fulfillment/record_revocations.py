"""Telling a publisher of its dead keys: whoever ends a disclosed claim calls this in the transaction that ends it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic_core import to_json

from keyservice.domain.notice import NewNotice, NoticeOwner, NoticeSubject
from keyservice.domain.revocation import DeadClaim, RevocationKind
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.record_notices import record_notices
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


async def record_revocations(
    connection: Connection,
    publisher_id: int,
    claims: Sequence[DeadClaim],
    *,
    kind: RevocationKind,
    reason: str,
    now: datetime,
) -> None:
    """One entry of the publisher's feed and one event for each claim. The feed numbers them after their commit.

    The connection is in the pipeline's role: a publisher does not write its own feed.
    """
    told = [(new_id(), claim) for claim in claims]
    await connection.executemany(
        statement("revocations.insert_revocation"),
        [(publisher_id, revocation_id, *claim, kind, reason, now) for revocation_id, claim in told],
    )
    await connection.executemany(
        statement("tape.insert_publisher_event"),
        [_event(publisher_id, revocation_id, claim, kind, reason, now) for revocation_id, claim in told],
    )
    await record_notices(
        connection, [_notice(publisher_id, revocation_id, claim, kind, now) for revocation_id, claim in told]
    )


def _notice(publisher_id: int, revocation_id: UUID, claim: DeadClaim, kind: RevocationKind, now: datetime) -> NewNotice:
    """Without the reason, which somebody wrote: a notice tells that there is something to read in the feed."""
    facts = {"key": {"revocationId": revocation_id, "claimId": claim.claim_id, "kind": kind}}
    owner = NoticeOwner(publisher_id=publisher_id)
    return NewNotice(owner, NoticeSubject.KEY, kind, str(revocation_id), now, facts)


def _event(
    publisher_id: int, revocation_id: object, claim: DeadClaim, kind: RevocationKind, reason: str, now: datetime
) -> tuple[object, ...]:
    facts = {**claim._asdict(), "revocation_id": revocation_id, "reason": reason}
    return (publisher_id, new_id(), None, None, None, f"key.{kind}", to_json(facts).decode(), now)
