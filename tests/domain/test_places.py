import pytest

from keyservice.domain.places import country_exists, has_province_codes, language_exists, province_exists

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_the_249_countries_of_iso_3166_1_exist_and_no_other_pair_of_letters() -> None:
    codes = [first + second for first in _LETTERS for second in _LETTERS]
    assert sum(map(country_exists, codes)) == 249


@pytest.mark.parametrize("code", ["FR", "US", "TW", "BQ"])
def test_an_assigned_code_is_a_country(code: str) -> None:
    assert country_exists(code)


@pytest.mark.parametrize("code", ["EU", "UN", "XK", "ZZ", "IC", "fr", "FRA", "150", ""])
def test_a_grouping_a_reservation_and_another_spelling_are_no_countries(code: str) -> None:
    assert not country_exists(code)


@pytest.mark.parametrize("code", ["fr", "en", "ja", "pt", "gsw"])
def test_a_language_of_iso_639_exists(code: str) -> None:
    assert language_exists(code)


@pytest.mark.parametrize("code", ["xx", "FR", "en_GB", "root", ""])
def test_what_is_no_language_code_does_not_exist(code: str) -> None:
    assert not language_exists(code)


@pytest.mark.parametrize(("country", "count"), [("US", 57), ("CA", 13), ("BR", 27), ("AU", 8)])
def test_each_country_whose_invoices_need_a_province_has_all_of_them(country: str, count: int) -> None:
    lengths_and_letters = [a + b for a in _LETTERS for b in _LETTERS] + ["ACT", "NSW", "QLD", "TAS", "VIC"]
    assert has_province_codes(country)
    assert sum(province_exists(country, code) for code in lengths_and_letters) == count


def test_a_province_of_another_country_is_unknown() -> None:
    assert province_exists("CA", "ON")
    assert not province_exists("US", "ON")


def test_other_countries_have_no_province_codes_here() -> None:
    assert not has_province_codes("FR")
