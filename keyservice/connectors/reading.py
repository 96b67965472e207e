"""What an answer proves. Everything that is not proven is unknown, and nothing that anybody sends is an exception here.

The classes are those of `reliability.md` 2.6: a success is one only with as many keys as were asked for, each by its law;
a refusal is one only in documented form. A server's error, a page for people, a redirect, or whatever does not parse says
nothing about what the publisher has done.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from keyservice.connectors.document import Condition, ConnectorDocument, HttpStatus, Operation, Selector
from keyservice.connectors.extracting import compiled_pattern, extract_keys, refuse_keys
from keyservice.connectors.selecting import AnswerBytes, NotReadable, find
from keyservice.domain.connector import CallOutcome, CallResult, ConnectorOperation, DeliveredKey, Refusal

CODE_CHARACTERS_MAX: Final = 64
MESSAGE_CHARACTERS_MAX: Final = 300
LICENSE_ID_CHARACTERS_MAX: Final = 200
ADDITIONAL_VALUES_MAX: Final = 20
ADDITIONAL_CHARACTERS_MAX: Final = 4_096

_LOOKS_SECRET: Final = re.compile(r"(?=[A-Za-z0-9+/=_-]*\d)[A-Za-z0-9+/=_-]{10,}")

_GROUPED: Final = re.compile(r"\b[A-Z0-9]{2,}(-[A-Z0-9]{2,})+\b|\b[A-Z0-9]{4,}( [A-Z0-9]{4,})+\b")
_CODE: Final = re.compile(r"[A-Za-z]{2,}(_[A-Za-z0-9]{1,12})*")
"""What an error's code looks like, and no key does."""

_NOT_APPLIED: Final = frozenset({401, 429})
"""RFC 9110, section 15.5.2: a request without good credentials has not been applied. RFC 6585, section 4: neither has one that
was turned away at the door."""


def read_answer(
    document: ConnectorDocument,
    operation: ConnectorOperation,
    *,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    key_count: int,
    reference: str = "",
) -> CallResult:
    """What a call under this reference came to. Raises nothing, whatever the bytes are."""
    asked = document.operations[operation]
    answer = AnswerBytes(status, headers, body)
    reader = _Reader(document, operation, asked, answer, key_count, reference)
    try:
        return reader.result()
    except NotReadable as reason:
        return CallResult(CallOutcome.UNKNOWN, code=reason.code, http_status=status)
    except Exception:
        return CallResult(CallOutcome.UNKNOWN, code="unreadable-answer", http_status=status)


class _Reader:
    def __init__(
        self,
        document: ConnectorDocument,
        operation: ConnectorOperation,
        asked: Operation,
        answer: AnswerBytes,
        key_count: int,
        reference: str,
    ) -> None:
        self._reference = reference
        self._document = document
        self._operation = operation
        self._asked = asked
        self._answer = answer
        self._key_count = key_count
        self._place = f"operations.{operation}"

    def result(self) -> CallResult:
        """Raises NotReadable for what proves nothing."""
        if (documented := self._documented()) is not None:
            return documented
        if self._answer.status in _NOT_APPLIED:
            return self._refused(Refusal.RETRYABLE, f"http-{self._answer.status}")
        if self._answer.is_html:
            raise NotReadable("html-answer")
        if self._answer.status >= 500 or 300 <= self._answer.status < 400:
            raise NotReadable(f"http-{self._answer.status}")
        if (refused := self._said()) is not None:
            return refused
        is_in_the_class = bool(self._asked.success) or 200 <= self._answer.status < 300
        if not is_in_the_class or not all(self._holds(condition) for condition in self._asked.success):
            raise NotReadable(f"http-{self._answer.status}")
        return self._succeeded()

    def _documented(self) -> CallResult | None:
        """By the first rule of the operation that holds, or a status that is never tried again."""
        for rule in self._asked.errors:
            if self._holds_if_readable(rule.when):
                match rule.means:
                    case "not-executed":
                        return self._plain(CallOutcome.NOT_EXECUTED)
                    case "accepted":
                        return self._plain(CallOutcome.ACCEPTED)
                    case refusal:
                        return self._refused(Refusal(refusal), f"http-{self._answer.status}")
        if _has_status(self._document.permanent_errors.http_statuses, self._answer.status):
            return self._refused(Refusal.PERMANENT, f"http-{self._answer.status}")
        return None

    def _said(self) -> CallResult | None:
        """The values by which the reference knows a failure: a flag that is not true, a code that is not empty."""
        code = self._value(self._asked.error_code)
        flag = self._value(self._asked.success_flag)
        if not code and (flag is None or flag.strip().lower() == "true"):
            return None
        message = self._value(self._asked.error_message) or ""
        permanent = self._document.permanent_errors
        is_permanent = (code or "") in permanent.error_codes or any(
            compiled_pattern(pattern).search(message) for pattern in permanent.error_messages
        )
        return self._refused(Refusal.PERMANENT if is_permanent else Refusal.RETRYABLE, "no-success")

    def _succeeded(self) -> CallResult:
        if self._asked.echo is not None and self._value(self._asked.echo) != self._reference:
            raise NotReadable("other-reference")
        selectors = self._asked.keys
        if not selectors and self._operation is ConnectorOperation.LOOK_UP:
            selectors = self._document.operations[ConnectorOperation.CREATE].keys
        keys = extract_keys(selectors, self._answer, place=f"{self._place}.keys")
        if self._operation in (ConnectorOperation.CREATE, ConnectorOperation.LOOK_UP):
            if not keys and self._document.capabilities.is_asynchronous:
                return self._plain(CallOutcome.ACCEPTED)
            if len(keys) != self._key_count:
                raise NotReadable("wrong-key-count")
        if refuse_keys(self._document, keys) is not None:
            raise NotReadable("key-refused")
        return CallResult(
            CallOutcome.DONE,
            http_status=self._answer.status,
            keys=keys,
            license_id=self._license_id(keys),
            additional=self._additional(),
        )

    def _license_id(self, keys: Sequence[DeliveredKey] = ()) -> str | None:
        """Not where it is a key: what names a license is shown to people."""
        value = self._value(self._asked.license_id)
        if not value or not value.isprintable() or any(value.encode() == key.text.raw for key in keys):
            return None
        return value[:LICENSE_ID_CHARACTERS_MAX]

    def _additional(self) -> dict[str, tuple[str, ...]]:
        kept = {}
        for name, selector in self._asked.additional.items():
            found = find(selector, self._answer, place=f"{self._place}.additional.{name}")
            values = tuple(
                value[:ADDITIONAL_CHARACTERS_MAX] for value in found[:ADDITIONAL_VALUES_MAX] if _is_plain(value)
            )
            if values:
                kept[name] = values
        return kept

    def _value(self, selector: Selector | None) -> str | None:
        """The first value; None if there is none, or nothing to look for it."""
        if selector is None or (not self._answer.body and selector.source != "header"):
            return None
        found = find(selector, self._answer, place=self._place)
        return found[0] if found else None

    def _holds(self, condition: Condition) -> bool:
        if condition.statuses and not _has_status(condition.statuses, self._answer.status):
            return False
        if condition.value is None:
            return True
        if not self._answer.body and condition.value.source not in ("header", "body"):
            # Nothing at all was said: not even that a value is empty.
            return False
        found = find(condition.value, self._answer, place=self._place)
        value = found[0] if found else ""
        if condition.is_empty is not None and condition.is_empty is bool(value):
            return False
        if condition.equals is not None and value != condition.equals:
            return False
        return condition.matches is None or compiled_pattern(condition.matches).fullmatch(value) is not None

    def _holds_if_readable(self, condition: Condition) -> bool:
        """A rule about a value says nothing of an answer in which no value can be found."""
        try:
            return self._holds(condition)
        except NotReadable:
            return False

    def _refused(self, refusal: Refusal, code: str) -> CallResult:
        told = self._told(self._asked.error_code, CODE_CHARACTERS_MAX)
        message = self._told(self._asked.error_message, MESSAGE_CHARACTERS_MAX)
        return CallResult(CallOutcome.REFUSED, refusal, told or code, message, self._answer.status)

    def _plain(self, outcome: CallOutcome) -> CallResult:
        return CallResult(outcome, http_status=self._answer.status, license_id=self._license_id_if_readable())

    def _license_id_if_readable(self) -> str | None:
        try:
            return self._license_id()
        except NotReadable:
            return None

    def _told(self, selector: Selector | None, characters_max: int) -> str:
        """The publisher's own words, without whatever might be a key or a secret in them."""
        try:
            value = self._value(selector) or ""
        except NotReadable:
            return ""
        plain = "".join(one if one.isprintable() else " " for one in value[: 4 * characters_max])
        if _CODE.fullmatch(plain):
            return plain[:characters_max]
        return _GROUPED.sub("…", _LOOKS_SECRET.sub("…", plain))[:characters_max]


def _is_plain(value: str) -> bool:
    return bool(value) and all(one.isprintable() or one in "\r\n\t" for one in value)


def _has_status(statuses: tuple[HttpStatus, ...], status: int) -> bool:
    return any(one in (str(status), f"{status // 100}xx") for one in statuses)
