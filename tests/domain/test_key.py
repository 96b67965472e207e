import copy
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.domain.errors import Invalid
from keyservice.domain.key import KeyPlace, KeyText, check_key_text

TEXT = "ABCDE-FGHIJ-KLMNO-PQRST-WXYZ1"


def test_a_key_is_delivered_to_the_byte_as_it_was_uploaded() -> None:
    decomposed = "Cle\u0301-\uff21\uff22 7"
    key = KeyText(decomposed.encode())
    assert key.reveal() == decomposed
    assert key.raw == decomposed.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (TEXT, "KeyText(…XYZ1)"),
        ("A" * 12 + "WXYZ", "KeyText(…WXYZ)"),
        ("A" * 12 + "XYZ", "KeyText(…XYZ)"),
        ("ABCDEFGH", "KeyText(…GH)"),
        ("ABCD", "KeyText(…D)"),
        ("ABC", "KeyText(…)"),
        ("", "KeyText(…)"),
        ("Ä" * 12 + "ÖÜßé", "KeyText(…Öüßé)".replace("ü", "Ü")),
        ("A" * 16 + "\x1b[2J", "KeyText(…)"),
        ("A" * 16 + "B\u202eCD", "KeyText(…)"),
    ],
)
def test_a_shown_key_tells_its_last_four_characters_and_never_more_than_a_quarter(text: str, shown: str) -> None:
    key = KeyText(text.encode())
    assert repr(key) == str(key) == f"{key}" == "%s" % key == shown  # noqa: UP031 (log calls format this way)
    assert f"{key!r:>40}" == f"{key:>40}" == shown.rjust(40)


@given(st.binary(max_size=4096))
def test_no_way_of_showing_a_key_contains_more_than_its_tail(raw: bytes) -> None:
    shown = f"{KeyText(raw)}"
    tail = re.fullmatch(r"KeyText\(…(.*)\)", shown, re.DOTALL)
    assert tail is not None
    assert len(tail[1]) * 4 <= len(raw.decode(errors="replace"))
    assert raw.endswith(tail[1].encode())


def test_a_key_that_is_a_file_shows_nothing_and_refuses_to_be_read_as_text() -> None:
    key = KeyText(b"secret-file-\xff\xfe-content")
    assert repr(key) == "KeyText(…)"
    with pytest.raises(Invalid) as refusal:
        key.reveal()
    assert "secret" not in str(refusal.value)
    assert refusal.value.__context__ is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_key_is_never_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="never pickled") as refusal:
        pickle.dumps(KeyText(TEXT.encode()), protocol)
    assert TEXT not in str(refusal.value)


def test_a_key_is_never_copied_changed_or_kept_in_a_set() -> None:
    key = KeyText(TEXT.encode())
    with pytest.raises(TypeError, match="never pickled or copied"):
        copy.deepcopy(key)
    with pytest.raises(AttributeError, match="never changes"):
        key.raw = b"other"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="never changes"):
        key._raw = b"other"
    with pytest.raises(AttributeError, match="never changes"):
        del key._raw
    with pytest.raises(TypeError, match="unhashable"):
        hash(key)
    assert not hasattr(key, "__dict__")
    assert key.raw == TEXT.encode()


def test_keys_are_equal_by_their_bytes_alone() -> None:
    assert KeyText(b"same") == KeyText(b"same")
    assert KeyText(b"same") != KeyText(b"Same")
    assert KeyText(b"same") != KeyText(b"same ")
    assert KeyText(b"same") != b"same"


def test_a_place_orders_by_publisher_then_segment_then_position() -> None:
    assert KeyPlace(1, 2, 3) < KeyPlace(1, 3, 1) < KeyPlace(2, 1, 1)
    assert KeyPlace(1, 2, 3)._fields == ("publisher_id", "segment_id", "position")


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "0",
        TEXT,
        "12345678901234567890",
        "inner spaces are kept",
        "user: ann / password: 'x'",
        "https://example.org/redeem?code=A&b=1#top",
        "=HYPERLINK(1)",
        "-1+1",
        "@x",
        "<script>alert(1)</script>",
        "'; DROP TABLE keys; --",
        "{{7*7}}${jndi:x}",
        "../../etc/passwd",
        "#1-KEY",
        "NULL-1234",
        "N/A/B",
        "Schlüssel-ÄÖ",
        "\u0410\u0412\u0421-cyrillic",
        "\uff21\uff22\uff23",
        "Cle\u0301",
        "鍵-1234",
        "\U0001f511-1",
        "inner\u00a0no-break space",
        "A" * 1024,
        "Ä" * 1024,
    ],
)
def test_a_text_that_a_shopper_can_read_and_type_is_accepted(text: str) -> None:
    assert check_key_text(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("A" * 1025, "is longer than 1024 characters"),
        ("Ä" * 1025, "is longer than 1024 characters"),
        (" ", "begins or ends with white space"),
        (" ABC", "begins or ends with white space"),
        ("ABC ", "begins or ends with white space"),
        ("\u00a0ABC", "begins or ends with white space"),
        ("ABC\u00a0", "begins or ends with white space"),
        ("ABC\u3000", "begins or ends with white space"),
        ("AB\0C", "has a control character (U+0000) at character 3"),
        ("AB\tC", "has a control character (U+0009) at character 3"),
        ("ABC\r", "has a control character (U+000D) at character 4"),
        ("ABC\n", "has a control character (U+000A) at character 4"),
        ("A\x7fB", "has a control character (U+007F) at character 2"),
        ("A\x85B", "has a control character (U+0085) at character 2"),
        ("A\u2028B", "has a line break (U+2028) at character 2"),
        ("A\u2029B", "has a line break (U+2029) at character 2"),
        ("A\ud800", "has half of a surrogate pair (U+D800) at character 2"),
        ("A\udfff", "has half of a surrogate pair (U+DFFF) at character 2"),
        ("\ufeffABC", "has an invisible character (U+FEFF) at character 1"),
        ("A\u200bB", "has an invisible character (U+200B) at character 2"),
        ("A\u200dB", "has an invisible character (U+200D) at character 2"),
        ("A\u2060B", "has an invisible character (U+2060) at character 2"),
        ("A\u00adB", "has an invisible character (U+00AD) at character 2"),
        ("A\u200fB", "has an invisible character (U+200F) at character 2"),
        ("A\u202eB", "has an invisible character (U+202E) at character 2"),
        ("A\u2066B", "has an invisible character (U+2066) at character 2"),
        ("A\u3164B", "has an invisible character (U+3164) at character 2"),
        ("A\u034fB", "has an invisible character (U+034F) at character 2"),
        ("A\ufe0fB", "has an invisible character (U+FE0F) at character 2"),
        ("A\U000e0041B", "has an invisible character (U+E0041) at character 2"),
    ],
)
def test_a_text_that_could_not_be_read_or_typed_is_refused_with_the_reason(text: str, reason: str) -> None:
    assert check_key_text(text) == reason


@pytest.mark.parametrize(
    "text",
    [
        *("NULL", "null", "Null", "(null)", "None", "nan", "n/a", "N/A", "NA", "undefined"),
        *("#REF!", "#ref!", "#N/A", "#VALUE!", "#NAME?", "#NULL!", "#NUM!", "#DIV/0!", "#SPILL!", "#GETTING_DATA"),
        *("#", "########"),
    ],
)
def test_a_spreadsheet_placeholder_is_not_a_key(text: str) -> None:
    assert check_key_text(text) == "is a placeholder that a spreadsheet or an export wrote, not a key"


@given(st.text(min_size=12))
def test_a_reason_never_repeats_the_text(text: str) -> None:
    reason = check_key_text(text)
    assert reason is None or text not in reason


@given(st.text(st.characters(codec="ascii"), max_size=1030))
def test_the_quick_path_for_ascii_decides_by_the_same_law(text: str) -> None:
    printable = all(" " <= character <= "~" for character in text)
    accepted = 1 <= len(text) <= 1024 and printable and text == text.strip()
    reason = check_key_text(text)
    assert (reason is None or "placeholder" in reason) == accepted


@given(st.text(max_size=200))
def test_an_accepted_text_survives_its_journey_as_bytes(text: str) -> None:
    if check_key_text(text) is None:
        assert KeyText(text.encode()).reveal() == text
