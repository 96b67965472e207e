"""What the sandbox publisher does with a call that it believes: the rules that are the same in every protocol."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from keyservice.sandbox.asked import Asked, Granted, Reason, Refused, State
from keyservice.sandbox.ledger import Entry, Issue, Ledger
from keyservice.sandbox.made_keys import made_key, made_license_id


class Repeat(StrEnum):
    """What a second request under the same reference gets."""

    SAME_KEY = "same-key"
    SECOND_KEY = "second-key"
    CONFLICT = "conflict"


class Delivery(StrEnum):
    """When keys are shown."""

    AT_ONCE = "at-once"
    WHEN_POLLED = "when-polled"
    PUSHED = "pushed"
    AFTER_RESERVATION = "after-reservation"


@dataclass(slots=True)
class Counter:
    """Where keys go over: a ledger, a stock, and a rule for repetitions in each protocol."""

    seed: str
    now: Callable[[], datetime]
    ledger: Ledger = field(default_factory=Ledger)
    repeats: dict[str, Repeat] = field(default_factory=dict)
    stock: int | None = None
    """Keys left; None: as many as anybody wants."""

    polls_until_ready: int = 1

    def perform(self, family: str, delivery: Delivery, repeat: Repeat, asked: Asked) -> Granted:
        """Raises Refused."""
        match asked.operation:
            case "create":
                return self._create(family, delivery, self.repeats.get(family, repeat), asked)
            case "reserve":
                return self._reserve(family, asked)
            case "look_up":
                return self._look_up(delivery, asked)
            case "cancel":
                return self._cancel(asked)
            case _:
                return self._acknowledge(asked)

    def _create(self, family: str, delivery: Delivery, repeat: Repeat, asked: Asked) -> Granted:
        entry = self.ledger.entry(asked.reference, family)
        entry.times_asked += 1
        issue = entry.last
        if issue is None or repeat is Repeat.SECOND_KEY:
            if delivery is Delivery.AFTER_RESERVATION and not entry.reserved:
                raise Refused(Reason.CONFLICT, "nothing is reserved under this reference")
            issue = self._issue(entry, asked)
        elif issue.cancelled_at is not None:
            raise Refused(Reason.CANCELLED, "this reference was cancelled")
        elif repeat is Repeat.CONFLICT:
            raise Refused(Reason.CONFLICT, "this reference is known already")
        if delivery in (Delivery.WHEN_POLLED, Delivery.PUSHED):
            return Granted(State.PROCESSING, entry.reference, issue.license_id)
        return Granted(State.ISSUED, entry.reference, issue.license_id, issue.keys)

    def _issue(self, entry: Entry, asked: Asked) -> Issue:
        if self.stock is not None:
            if self.stock < asked.count:
                raise Refused(Reason.OUT_OF_STOCK, "no keys left")
            self.stock -= asked.count
        number = len(entry.issues) + 1
        keys = tuple(made_key(self.seed, entry.reference, number, n) for n in range(1, asked.count + 1))
        license_id = made_license_id(self.seed, entry.reference, number)
        issue = Issue(license_id, keys, self.now(), asked.is_test)
        entry.issues.append(issue)
        return issue

    def _reserve(self, family: str, asked: Asked) -> Granted:
        if self.stock is not None and self.stock < asked.count:
            raise Refused(Reason.OUT_OF_STOCK, "no keys left")
        entry = self.ledger.entry(asked.reference, family)
        entry.reserved = asked.count
        return Granted(State.RESERVED, entry.reference, "")

    def _look_up(self, delivery: Delivery, asked: Asked) -> Granted:
        entry, issue = self._found(asked)
        entry.times_polled += 1
        if issue.cancelled_at is not None:
            return Granted(State.CANCELLED, entry.reference, issue.license_id, issue.keys)
        if delivery is Delivery.WHEN_POLLED and entry.times_polled < self.polls_until_ready:
            return Granted(State.PROCESSING, entry.reference, issue.license_id)
        return Granted(State.ISSUED, entry.reference, issue.license_id, issue.keys)

    def _cancel(self, asked: Asked) -> Granted:
        entry, named = self._found(asked)
        entry.times_cancelled += 1
        # By our reference everything that was issued under it ends; by the publisher's own id only that.
        ended = [named] if asked.license_id else entry.issues
        was_live = any(issue.cancelled_at is None for issue in ended)
        for issue in ended:
            issue.cancelled_at = issue.cancelled_at or self.now()
        return Granted(State.CANCELLED if was_live else State.ALREADY_CANCELLED, entry.reference, named.license_id)

    def _acknowledge(self, asked: Asked) -> Granted:
        entry, issue = self._found(asked)
        entry.operations.append(asked.operation)
        return Granted(State.ACKNOWLEDGED, entry.reference, issue.license_id, issue.keys)

    def _found(self, asked: Asked) -> tuple[Entry, Issue]:
        if asked.license_id:
            found = self.ledger.of_license(asked.license_id)
            if found is not None:
                return found
        else:
            entry = self.ledger.entries.get(asked.reference)
            if entry is not None and entry.last is not None:
                return entry, entry.last
        raise Refused(Reason.NOT_FOUND, "nothing was issued under this name")
