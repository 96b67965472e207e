"""Each protocol that the sandbox publisher speaks."""

from typing import Final

from keyservice.sandbox.families.forms import FASTSPRING, PAYPRO, SHAREIT, SWREG
from keyservice.sandbox.families.nexway import NEXWAY, PLUGIN
from keyservice.sandbox.families.rest import CRYPTLEX, KEYGEN, LICENSESPRING
from keyservice.sandbox.family import Family

FAMILIES: Final[tuple[Family, ...]] = (
    *(NEXWAY, PLUGIN, KEYGEN, CRYPTLEX, LICENSESPRING),
    *(FASTSPRING, PAYPRO, SHAREIT, SWREG),
)
