"""Which countries, languages and provinces exist. Babel's data decides, and is read at the first question."""

from functools import cache
from typing import Final

from babel import Locale

# Unicode's territories that ISO 3166-1 does not assign: groupings, exceptional reservations, private use.
_NOT_COUNTRIES: Final = "AC CP CQ DG EA EU EZ IC QO TA UN XA XB XK ZZ"

# Babel carries no subdivisions, and document 003 asks for them by code (ISO 3166-2) in these four countries only.
_PROVINCES: Final = {
    "AU": "ACT NSW NT QLD SA TAS VIC WA",
    "BR": "AC AL AM AP BA CE DF ES GO MA MG MS MT PA PB PE PI PR RJ RN RO RR RS SC SE SP TO",
    "CA": "AB BC MB NB NL NS NT NU ON PE QC SK YT",
    "US": "AK AL AR AS AZ CA CO CT DC DE FL GA GU HI IA ID IL IN KS KY LA MA MD ME MI MN MO MP MS MT"
    " NC ND NE NH NJ NM NV NY OH OK OR PA PR RI SC SD TN TX UM UT VA VI VT WA WI WV WY",
}


def country_exists(code: str) -> bool:
    """ISO 3166-1 alpha-2, upper case."""
    return code in _countries()


def language_exists(code: str) -> bool:
    """ISO 639, two or three letters, lower case."""
    return code in _languages()


def has_province_codes(country: str) -> bool:
    """The countries whose invoices need a province (document 003) and whose provinces are known here."""
    return country in _PROVINCES


def province_exists(country: str, province: str) -> bool:
    """Only for a country that `has_province_codes`; the province without its country's prefix."""
    return province in _provinces(country)


@cache
def _countries() -> frozenset[str]:
    codes = frozenset(str(code) for code in Locale("en").territories)
    return frozenset(code for code in codes if len(code) == 2 and code.isalpha()) - set(_NOT_COUNTRIES.split())


@cache
def _languages() -> frozenset[str]:
    codes = frozenset(str(code) for code in Locale("en").languages)
    return frozenset(code for code in codes if len(code) <= 3)


@cache
def _provinces(country: str) -> frozenset[str]:
    return frozenset(_PROVINCES[country].split())
