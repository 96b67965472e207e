import json
from base64 import b64decode

import pytest

from keyservice.api.key_document import key_document
from keyservice.domain.key import KeyText
from keyservice.domain.key_parts import PARTS_MIME, KeyPart, encode_parts


def test_a_text_is_shown_as_it_is() -> None:
    shown = key_document(KeyText("clé-1".encode()), None, None).model_dump(mode="json")
    assert shown == {"kind": "text", "text": "clé-1", "parts": None, "file": None}


def test_parts_are_shown_in_their_order_with_their_labels() -> None:
    raw = encode_parts([KeyPart("Serial", "S-1"), KeyPart("Code", "C-2")])
    shown = json.loads(key_document(KeyText(raw), PARTS_MIME, None).model_dump_json(exclude_none=True))
    assert shown == {
        "kind": "parts",
        "parts": [{"label": "Serial", "value": "S-1"}, {"label": "Code", "value": "C-2"}],
    }


@pytest.mark.parametrize(
    ("raw", "mime", "told"),
    [
        (b"\x00\xff\x10", "application/pkix-cert", "application/pkix-cert"),
        (b"plain", "text/plain", "text/plain"),
        (b"", "application/octet-stream", "application/octet-stream"),
        (b"\xff", None, "application/octet-stream"),
    ],
)
def test_a_file_is_shown_in_base64(raw: bytes, mime: str | None, told: str) -> None:
    shown = key_document(KeyText(raw), mime, "license.bin")
    assert (shown.kind, shown.text, shown.parts) == ("file", None, None)
    assert shown.file is not None
    assert (shown.file.name, shown.file.mime, b64decode(shown.file.base64, validate=True)) == ("license.bin", told, raw)


@pytest.mark.parametrize(
    ("raw", "mime"),
    [
        (b"SECRET-1", None),
        (b"SECRET-1", "text/plain"),
        (encode_parts([KeyPart("Serial", "SECRET-1")]), PARTS_MIME),
    ],
)
def test_the_repr_of_a_shown_key_shows_nothing(raw: bytes, mime: str | None) -> None:
    shown = repr(key_document(KeyText(raw), mime, "a.txt"))
    assert "SECRET" not in shown
    assert "U0VDUkVULTE" not in shown
