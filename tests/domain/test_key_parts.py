import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.domain.errors import Invalid
from keyservice.domain.key import KeyText
from keyservice.domain.key_parts import PARTS_MIME, KeyPart, decode_parts, encode_parts, telling_text

PARTS = (KeyPart("Serial", "SER-0001"), KeyPart("Activation code", 'clé "7"'))
_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_the_stored_form_never_changes() -> None:
    stored = '[{"label":"Serial","value":"SER-0001"},{"label":"Activation code","value":"clé \\"7\\""}]'
    assert encode_parts(PARTS) == stored.encode()


@given(st.lists(st.builds(KeyPart, _text, _text), min_size=1))
def test_parts_come_back_as_they_were(parts: list[KeyPart]) -> None:
    assert list(decode_parts(KeyText(encode_parts(parts)))) == parts


@pytest.mark.parametrize("raw", [b"SECRET-1", b"\xff", b'["SECRET-1"]', b'[{"label":"SECRET-1"}]', b"1", b"[]"])
def test_what_has_no_parts_is_refused_without_a_word_of_it(raw: bytes) -> None:
    with pytest.raises(Invalid) as refusal:
        decode_parts(KeyText(raw))
    assert "SECRET" not in str(refusal.value)
    assert refusal.value.__context__ is None


def test_a_key_is_recognised_by_the_end_of_its_last_part() -> None:
    parts = KeyText(encode_parts([KeyPart("Serial", "SER-0001"), KeyPart("Code", "ABCD-EFGH-IJKL-WXYZ")]))
    assert telling_text(parts, PARTS_MIME).tail == "WXYZ"
    text = KeyText(b"ABCD-EFGH-IJKL-STUV")
    assert telling_text(text, None) is text


def test_no_repr_shows_a_part() -> None:
    assert "SER-0001" not in repr(PARTS)
