"""Loaded by schemathesis: what it cannot think of by itself, a text of our format `printable` and a file that has keys in it."""

import random
from typing import Any, Final
from uuid import uuid4

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

_PRINTABLE: Final = st.text(
    st.characters(exclude_categories=("C", "Z"), codec="utf-8"), min_size=1, max_size=60
).filter(str.isprintable)
_FILES_WITH_KEYS: Final = 0.2

schemathesis.openapi.format("printable", st.one_of(_PRINTABLE, st.builds("{} {}".format, _PRINTABLE, _PRINTABLE)))


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Bytes at random are never a key file: some uploads that are meant to be good have one."""
    is_upload = case.operation.definition.raw.get("operationId") == "upload_key_file"
    is_good = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
    if is_upload and is_good and random.random() < _FILES_WITH_KEYS:  # noqa: S311 - not for secrets
        case.query = {"format": "txt"}
        for name in ("Idempotency-Key", "Repr-Digest"):
            case.headers.pop(name, None)
        case.media_type = "text/plain"
        case.body = f"{uuid4()}\n".encode()
