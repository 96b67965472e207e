"""Each protocol that the sandbox publisher speaks."""

from typing import Final

from keyservice.sandbox.families.forms import (
    CLEVERBRIDGE,
    FASTSPRING,
    PADDLE,
    PAYPRO,
    PLESK,
    SENDOWL,
    SHAREIT,
    SOFTLINE,
    SWREG,
    TWO_CHECKOUT,
)
from keyservice.sandbox.families.marketplaces import ALIBABA, ENEBA, HUAWEI, HUAWEI_ASYNC, SELLAUTH, SELLIX
from keyservice.sandbox.families.nexway import NEXWAY, PLUGIN
from keyservice.sandbox.families.rest import CRYPTLEX, KEYGEN, LICENSESPRING
from keyservice.sandbox.families.wholesale import CODESWHOLESALE, KINGUIN
from keyservice.sandbox.families.xml import BMTMICRO, SOAP
from keyservice.sandbox.family import Family

FAMILIES: Final[tuple[Family, ...]] = (
    *(NEXWAY, PLUGIN, KEYGEN, CRYPTLEX, LICENSESPRING),
    *(FASTSPRING, PAYPRO, SHAREIT, SWREG, TWO_CHECKOUT, CLEVERBRIDGE, PLESK, SOFTLINE, SENDOWL, PADDLE),
    *(SELLIX, SELLAUTH, ALIBABA, HUAWEI, HUAWEI_ASYNC, ENEBA),
    *(KINGUIN, CODESWHOLESALE, BMTMICRO, SOAP),
)
