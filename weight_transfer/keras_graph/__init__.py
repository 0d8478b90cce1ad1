"""The layer graph that a Keras model's config describes, in one form for every Keras.

Keras has written the same graph in many schemas: Keras 1 and 2 (``Model``, ``Sequential``, inbound
lists), tf.keras (``Functional``), Keras 3 (``__keras_tensor__`` arguments, DTypePolicy objects),
nested to any depth, with layers shared between calls. Here they are all layers and calls. No class
is imported, and nothing of the file runs.
"""

from weight_transfer.keras_graph.graph import Call, KerasGraph, KerasLayer
from weight_transfer.keras_graph.reading import MODEL_CLASSES, keras_graph

__all__ = ["MODEL_CLASSES", "Call", "KerasGraph", "KerasLayer", "keras_graph"]
