import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.crypto.tokens import matches, new_token, parse_token
from keyservice.domain.errors import Unauthenticated

BODY = "ks_abcdefghij27_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
TOKEN = f"{BODY}_zqtojh"


def test_a_new_token_is_recognised_and_its_hash_is_the_stored_one() -> None:
    token_id, token, stored = new_token()
    assert re.fullmatch(r"ks_[a-z2-7]{12}_[A-Za-z0-9_-]{43}_[a-z2-7]{6}", token)
    presented_id, presented = parse_token(token)
    assert presented_id == token_id
    assert matches(presented, stored)


def test_no_two_tokens_share_anything() -> None:
    tokens = [new_token() for _ in range(500)]
    assert len({token_id for token_id, _, _ in tokens}) == 500
    assert len({token[16:59] for _, token, _ in tokens}) == 500
    assert len({stored for _, _, stored in tokens}) == 500
    assert not matches(parse_token(tokens[0][1])[1], tokens[1][2])


def test_the_form_of_a_token_and_of_its_hash_is_fixed() -> None:
    assert parse_token(TOKEN) == ("abcdefghij27", hashlib.sha256(BODY.encode()).digest())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ks_",
        BODY,
        TOKEN[:-1],
        TOKEN + "a",
        TOKEN + "\n",
        " " + TOKEN,
        TOKEN.upper(),
        TOKEN.replace("ks_", "sk_"),
        TOKEN.replace("_", "-"),
        TOKEN.replace("a", "\u0430"),
        TOKEN.replace("27", "\u0662\u0667"),
        "Bearer " + TOKEN,
        TOKEN + " " + TOKEN,
        "ks_" + "a" * 1_000_000,
        "\ud800" * 66,
    ],
)
def test_what_is_no_token_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        parse_token(text)
    assert len(text) < 4 or text not in str(refusal.value)
    assert "AAECAwQF" not in str(refusal.value)


def test_a_token_with_one_wrong_character_is_refused_before_it_is_looked_up() -> None:
    for place in range(len(TOKEN)):
        wrong = "b" if TOKEN[place] != "b" else "c"
        with pytest.raises(Unauthenticated):
            parse_token(TOKEN[:place] + wrong + TOKEN[place + 1 :])


@given(st.text(max_size=100))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(Unauthenticated):
        parse_token(text)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_hashes_match_only_when_they_are_equal(presented: bytes, stored: bytes) -> None:
    assert matches(presented, stored) == (presented == stored)
