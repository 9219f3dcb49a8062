"""DocumentField: JSON that reads back as what JSON writers of this system can write again."""

from __future__ import annotations

import json
from typing import Any

from django.db import models


class DocumentField(models.JSONField):
    """A JSONField whose integers fit into 64 bits: PostgreSQL gives 1.5e300 back as an integer of 301 digits.

    For migrations it is a plain JSONField, which it is in the database.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.decoder = _Decoder

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, _, args, options = super().deconstruct()
        options.pop("decoder", None)
        return name, "django.db.models.JSONField", args, options


class _Decoder(json.JSONDecoder):
    def __init__(self, **options: Any) -> None:
        super().__init__(parse_int=_number, **options)


def _number(text: str) -> int | float:
    number = int(text)
    return number if -(2**63) <= number < 2**64 else float(text)


def read_document(text: str) -> Any:
    """What a DocumentField reads from the JSON text in its column."""
    return json.loads(text, cls=_Decoder)
