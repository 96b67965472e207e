"""What an answer proves, and everything that proves nothing."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyservice.connectors.document import ConnectorDocument
from keyservice.connectors.reading import MESSAGE_CHARACTERS_MAX, read_answer
from keyservice.domain.connector import CallOutcome, CallResult, ConnectorOperation, Refusal
from keyservice.domain.key_parts import KeyPart, decode_parts

CREATE, CANCEL = ConnectorOperation.CREATE, ConnectorOperation.CANCEL


def json_at(path: str, **more: Any) -> dict[str, Any]:
    return {"source": "json", "path": path, **more}


def document(create: dict[str, Any] | None = None, **members: Any) -> ConnectorDocument:
    operation = {
        "keys": [json_at("$.key", all=True)],
        "success_flag": json_at("$.ok"),
        "error_code": json_at("$.code"),
        "error_message": json_at("$.message"),
        "license_id": json_at("$.id"),
        **(create or {}),
    }
    made = {
        "base_url": "https://publisher.test",
        "operations": {"create": operation, "cancel": {"path": "/cancel"}},
        "permanent_errors": {"error_codes": ["BANNED"], "error_messages": ["never"], "http_statuses": ["410"]},
        "key_law": {"pattern": "[A-Z0-9-]+", "characters_min": 5},
    }
    return ConnectorDocument.model_validate({**made, **members})


def read(
    body: Any,
    *,
    status: int = 200,
    operation: ConnectorOperation = CREATE,
    count: int = 1,
    headers: dict[str, str] | None = None,
    of: ConnectorDocument | None = None,
) -> CallResult:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given_headers = {"Content-Type": "application/json", **(headers or {})}
    return read_answer(
        of or document(), operation, status=status, headers=given_headers, body=raw, key_count=count, reference="R-1"
    )


def texts(result: CallResult) -> list[str]:
    return [key.text.reveal() for key in result.keys]


def test_a_key_by_its_law_is_a_key() -> None:
    result = read({"key": "ABC-12345", "id": "L-1"})
    assert (result.outcome, texts(result), result.license_id) == (CallOutcome.DONE, ["ABC-12345"], "L-1")
    assert texts(read({"key": ["ABC-12345", "DEF-12345"]}, count=2)) == ["ABC-12345", "DEF-12345"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"key": ["ABC-12345", "DEF-12345"]}, "wrong-key-count"),
        ({"key": []}, "wrong-key-count"),
        ({}, "wrong-key-count"),
        ({"key": ""}, "wrong-key-count"),
        ({"key": None}, "wrong-key-count"),
        ({"key": 12345}, "wrong-types"),
        ({"key": {"text": "ABC-12345"}}, "wrong-types"),
        ({"key": "abc-12345"}, "key-refused"),
        ({"key": "A-1"}, "key-refused"),
        ({"key": "<b>ABC</b>"}, "key-refused"),
        (b'{"key":"ABC-12345","key":"DEF-12345"}', "unreadable-json"),
        (b'{"key":"ABC-12345"', "unreadable-json"),
        (b"", "unreadable-json"),
        (b'{"key":"\xff"}', "unreadable-text"),
        (b"[" * 200 + b"]" * 200, "too-deep"),
        (b"[" * 100_000, "unreadable-json"),
        (b'{"key": NaN}', "unreadable-json"),
        (b"<!DOCTYPE html><html></html>", "html-answer"),
        (b'{"key":"ABC-\\ud800345"}', "unreadable-text"),
        ({"key": 12345.5}, "wrong-types"),
    ],
)
def test_what_is_no_key_proves_nothing(body: Any, code: str) -> None:
    result = read(body)
    assert (result.outcome, result.code, result.keys) == (CallOutcome.UNKNOWN, code, ())


@pytest.mark.parametrize("keys", [["ABC-12345", "DEF-12345"], ["ABC-12345", "ABC-12345"]])
def test_of_two_keys_for_one_neither_is_taken(keys: list[str]) -> None:
    of = document({"keys": [json_at("$.key")]})
    assert read({"key": keys}, of=of).code == "wrong-key-count"
    assert read({"key": keys[:1]}, of=of).outcome is CallOutcome.DONE
    tagged = document(
        {"keys": [{"source": "tag", "path": "k"}], "success_flag": None, "error_code": None, "license_id": None}
    )
    assert read(b"<k>ABC-12345</k><k>DEF-12345</k>", of=tagged).code == "wrong-key-count"


@pytest.mark.parametrize(
    "page",
    [
        b"\xef\xbb\xbf<html><body>soon</body></html>",
        b"<!-- hello --> <!doctype html><p>soon",
        "<html>soon</html>".encode("utf-16"),
        b'<?xml version="1.0"?>\n<!DOCTYPE html><html xmlns="x"/>',
    ],
)
def test_a_page_for_people_cancels_nothing(page: bytes) -> None:
    result = read(page, operation=CANCEL, headers={"Content-Type": "text/plain"})
    assert (result.outcome, result.code) == (CallOutcome.UNKNOWN, "html-answer")


def test_an_answer_that_says_nothing_does_not_say_that_a_value_is_empty() -> None:
    rules = [{"when": {"value": json_at("$.key"), "is_empty": True}, "means": "not-executed"}]
    of = document({"errors": rules})
    assert read(b"", status=502, of=of).outcome is CallOutcome.UNKNOWN
    assert read({"key": ""}, of=of).outcome is CallOutcome.NOT_EXECUTED


def test_a_redirect_refuses_nothing_and_delivers_nothing() -> None:
    of = document({"success": []})
    for body in ({"code": "OOPS"}, {"key": "ABC-12345"}):
        assert read(body, status=302, of=of).outcome is CallOutcome.UNKNOWN
    assert read({"key": "ABC-12345"}, status=404, of=of).outcome is CallOutcome.UNKNOWN
    assert read({"key": "ABC-12345"}, of=of).outcome is CallOutcome.DONE


def test_a_charset_that_nobody_needs_is_not_decoded() -> None:
    body = b"x" * 200_000
    for charset in ("punycode", "idna", "utf-7", "unicode_escape", "nobody"):
        assert read(body, headers={"Content-Type": f"text/plain; charset={charset}"}).code == "unreadable-text"


def test_a_file_is_no_page_and_has_no_media_type_of_ours() -> None:
    file = {"encoding": "base64", "mime_path": json_at("$.mime"), **json_at("$.file")}
    of = document({"keys": [file]})
    page = base64.b64encode(b"<html>sold out</html>").decode()
    assert read({"file": page, "mime": "text/html"}, of=of).code == "key-refused"
    parts = {"file": "AAEC", "mime": "application/vnd.keyservice.parts+json"}
    assert read(parts, of=of).code == "no-media-type"
    assert read({"file": "AAEC", "mime": "application/x-license"}, of=of).outcome is CallOutcome.DONE


def test_what_names_a_license_is_not_its_key_and_what_is_kept_beside_is_plain() -> None:
    of = document({"additional": {"note": json_at("$.note")}})
    result = read({"key": "ABC-12345", "id": "ABC-12345", "note": "a\0b"}, of=of)
    assert (result.outcome, result.license_id, result.additional) == (CallOutcome.DONE, None, {})


@pytest.mark.parametrize("key", ["ABCDE-FGHIJ-KLMNO", "AB1-CD2", "ABCDE 12345 FGHIJ"])
def test_no_form_of_key_is_in_a_message(key: str) -> None:
    assert key not in read({"code": "OOPS", "message": f"key {key} is taken"}).message
    assert read({"code": "ERR_2024_OUT_OF_STOCK"}).code == "ERR_2024_OUT_OF_STOCK"


def test_the_same_key_twice_is_none() -> None:
    assert read({"key": ["ABC-12345", "ABC-12345"]}, count=2).code == "key-refused"


@pytest.mark.parametrize("status", [500, 502, 503, 599])
def test_an_error_of_the_server_proves_nothing_even_with_a_key(status: int) -> None:
    result = read({"key": "ABC-12345"}, status=status)
    assert (result.outcome, result.code) == (CallOutcome.UNKNOWN, f"http-{status}")


@pytest.mark.parametrize("status", [301, 307, 400, 404, 409, 418])
def test_a_status_that_no_rule_knows_proves_nothing(status: int) -> None:
    assert read({"key": "ABC-12345"}, status=status).outcome is CallOutcome.UNKNOWN


@pytest.mark.parametrize(
    ("body", "status", "refusal"),
    [
        ({"code": "OOPS"}, 200, Refusal.RETRYABLE),
        ({"code": "BANNED"}, 200, Refusal.PERMANENT),
        ({"code": "OOPS", "message": "never again"}, 200, Refusal.PERMANENT),
        ({"ok": "false"}, 200, Refusal.RETRYABLE),
        ({"ok": False, "key": "ABC-12345"}, 200, Refusal.RETRYABLE),
        ({"code": "OOPS"}, 400, Refusal.RETRYABLE),
        ({}, 410, Refusal.PERMANENT),
        (b"slow down", 429, Refusal.RETRYABLE),
        (b"<html>who are you?</html>", 401, Refusal.RETRYABLE),
    ],
)
def test_a_documented_refusal_is_one(body: Any, status: int, refusal: Refusal) -> None:
    result = read(body, status=status)
    assert (result.outcome, result.refusal, result.keys) == (CallOutcome.REFUSED, refusal, ())


def test_a_flag_that_is_true_and_an_empty_code_refuse_nothing() -> None:
    assert read({"ok": True, "code": "", "key": "ABC-12345"}).outcome is CallOutcome.DONE
    assert read({"ok": "TRUE", "code": None, "key": "ABC-12345"}).outcome is CallOutcome.DONE


def test_the_first_rule_that_holds_decides() -> None:
    rules = [
        {"when": {"statuses": ["409"], "value": json_at("$.code"), "equals": "EMPTY"}, "means": "out-of-stock"},
        {"when": {"statuses": ["409"], "value": json_at("$.code"), "matches": "DONE|DID"}, "means": "already-done"},
        {"when": {"statuses": ["503"]}, "means": "not-executed"},
        {"when": {"statuses": ["202"]}, "means": "accepted"},
        {"when": {"statuses": ["2xx"], "value": json_at("$.key"), "is_empty": True}, "means": "not-found"},
    ]
    of = document({"errors": rules})
    assert read({"code": "EMPTY"}, status=409, of=of).refusal is Refusal.OUT_OF_STOCK
    assert read({"code": "DID"}, status=409, of=of).refusal is Refusal.ALREADY_DONE
    assert read(b"not json", status=409, of=of).outcome is CallOutcome.UNKNOWN
    assert read({}, status=503, of=of).outcome is CallOutcome.NOT_EXECUTED
    assert read({"id": "L-7"}, status=202, of=of).outcome is CallOutcome.ACCEPTED
    assert read({"id": "L-7"}, status=202, of=of).license_id == "L-7"
    assert read({"key": ""}, of=of).refusal is Refusal.NOT_FOUND


def test_an_answer_to_another_request_is_not_believed() -> None:
    of = document({"echo": json_at("$.reference")})
    assert read({"key": "ABC-12345", "reference": "R-1"}, of=of).outcome is CallOutcome.DONE
    for body in ({"key": "ABC-12345", "reference": "R-2"}, {"key": "ABC-12345"}):
        assert read(body, of=of).code == "other-reference"


def test_an_asynchronous_publisher_accepts_first() -> None:
    able = {"is_asynchronous": True, "pushes_back": True}
    of = document(capabilities=able)
    assert read({"id": "L-1"}, of=of).outcome is CallOutcome.ACCEPTED
    assert read({"key": "ABC-12345"}, of=of).outcome is CallOutcome.DONE


def test_a_cancellation_needs_no_key_but_more_than_a_page_for_people() -> None:
    assert read(b"", operation=CANCEL).outcome is CallOutcome.DONE
    assert read({}, operation=CANCEL).outcome is CallOutcome.DONE
    page = {"Content-Type": "text/html"}
    assert read(b"we are back soon", operation=CANCEL, headers=page).code == "html-answer"


@pytest.mark.parametrize(
    ("selector", "body", "expected"),
    [
        ({"source": "body", "split": "lines"}, b"ABC-12345\r\nDEF-12345\n", ["ABC-12345", "DEF-12345"]),
        ({"source": "body", "split": "comma-tab"}, b"ABC-12345,\tDEF-12345", ["ABC-12345", "DEF-12345"]),
        ({"source": "body", "split": "semicolon"}, b"ABC-12345;DEF-12345", ["ABC-12345", "DEF-12345"]),
        ({"source": "body", "split": "white-space"}, b" ABC-12345  DEF-12345 ", ["ABC-12345", "DEF-12345"]),
        ({"source": "tag", "path": "softshop", "all": True}, b"x<softshop>ABC-12345</softshop>y", ["ABC-12345"]),
        ({"source": "tag", "path": "softshop", "all": True}, b"<softshop>" * 50_000, []),
        (
            {"source": "xml", "path": "item/key", "all": True},
            b"<a><item><key> ABC-12345 </key></item></a>",
            ["ABC-12345"],
        ),
        ({"source": "xml", "path": "item/@key"}, b"<a><item key='ABC-12345'/></a>", ["ABC-12345"]),
        ({"source": "header", "path": "X-Key"}, b"", ["HDR-12345"]),
        ({"source": "json", "path": "$.k", "convert": "{{.Value}}-9"}, b'{"k":"ABC-1234"}', ["ABC-1234-9"]),
    ],
)
def test_keys_are_found_where_the_document_says(selector: dict[str, Any], body: bytes, expected: list[str]) -> None:
    of = document(
        {"keys": [selector], "success_flag": None, "error_code": None, "error_message": None, "license_id": None}
    )
    headers = {"Content-Type": "text/plain", "X-Key": "HDR-12345"}
    result = read(body, of=of, count=max(1, len(expected)), headers=headers)
    assert texts(result) == expected
    assert (result.outcome is CallOutcome.DONE) is bool(expected)


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY x "y">]><a><item><key>&x;</key></item></a>',
        b'<!DOCTYPE a SYSTEM "http://169.254.169.254/"><a/>',
        b"<a><item><key>ABC-12345</key></item>",
    ],
)
def test_xml_that_wants_more_than_to_be_read_is_not(body: bytes) -> None:
    of = document({"keys": [{"source": "xml", "path": "item/key"}], "success_flag": None, "error_code": None})
    assert read(body, of=of, headers={"Content-Type": "text/xml"}).outcome is CallOutcome.UNKNOWN


def test_a_key_of_several_parts_and_a_key_that_is_a_file() -> None:
    parts = {"label_path": "$.name", "value_path": "$.text", **json_at("$.parts[*]", all=True)}
    result = read(
        {"parts": [{"name": "Serial", "text": "ABC-12345"}, {"name": "Code", "text": "DEF-1"}]},
        of=document({"keys": [parts]}, key_law={}),
    )
    assert decode_parts(result.keys[0].text) == (KeyPart("Serial", "ABC-12345"), KeyPart("Code", "DEF-1"))
    file = {
        "encoding": "base64",
        "mime": "application/x-license",
        "name_path": json_at("$.name"),
        **json_at("$.file"),
    }
    of = document({"keys": [file]})
    result = read({"file": "AAEC/w==", "name": "a.lic"}, of=of)
    assert (result.keys[0].text.raw, result.keys[0].mime, result.keys[0].name) == (
        b"\x00\x01\x02\xff",
        "application/x-license",
        "a.lic",
    )
    assert read({"file": "not base64!", "name": "a.lic"}, of=of).code == "not-base64"
    assert read({"file": "AAEC/w==", "name": "../a.lic"}, of=of).code == "no-file-name"


def test_what_might_be_a_key_is_not_in_what_is_told_of_a_failure() -> None:
    result = read({"code": "OOPS", "message": "key ABCDE-12345-FGHIJ is taken " + "x" * 1_000})
    assert "12345" not in result.message
    assert "is taken" in result.message
    assert len(result.message) <= MESSAGE_CHARACTERS_MAX


@settings(max_examples=500, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none()
            | st.booleans()
            | st.text(st.characters(exclude_categories=[]), max_size=20)
            | st.integers()
            | st.floats(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "ok", "code", "id"]), inner)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    status=st.integers(100, 599),
    content_type=st.sampled_from(["application/json", "text/html", "text/plain; charset=utf-16", "x; charset=nobody"]),
)
def test_nothing_that_anybody_sends_is_an_exception_or_believed_without_proof(
    body: bytes, status: int, content_type: str
) -> None:
    for operation in (CREATE, CANCEL):
        result = read(body, status=status, operation=operation, headers={"Content-Type": content_type})
        if operation is CREATE and result.outcome is CallOutcome.DONE:
            assert 200 <= status < 300
            assert len(result.keys) == 1
        if status >= 500:
            assert result.outcome is not CallOutcome.DONE
