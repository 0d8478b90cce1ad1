"""Networks that a weights-only file can be recognised as, by the names and shapes of its arrays."""

from weight_transfer.families.family import Family
from weight_transfer.families.like import like
from weight_transfer.families.recognise import FAMILIES, Recognised, recognise

__all__ = ["FAMILIES", "Family", "Recognised", "like", "recognise"]
