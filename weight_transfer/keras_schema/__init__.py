"""A model config in the schema of another Keras, for files that the other one loads.

The schemas differ in how calls, shapes, dtype policies and nested objects are written, in the names of arguments, and
in what some of them mean. What the target cannot say is refused by name. No Keras is imported.
"""

from weight_transfer.checkpoint.writing import Schema
from weight_transfer.keras_schema.compiled import compiled_in_schema
from weight_transfer.keras_schema.schema import in_schema, schema_of
from weight_transfer.keras_schema.target import Container

__all__ = ["Container", "Schema", "compiled_in_schema", "in_schema", "schema_of"]
