"""A network as one graph of layers and calls, and how a Keras model's config is read into it.

Keras has written the same graph in many schemas: Keras 1 and 2 (``Model``, ``Sequential``, inbound
lists), tf.keras (``Functional``), Keras 3 (``__keras_tensor__`` arguments, DTypePolicy objects),
nested to any depth, with layers shared between calls. Here they are all layers and calls. No class
is imported, and nothing of the file runs.
"""

from weight_transfer.graph.config_reader import MODEL_CLASSES, read_graph
from weight_transfer.graph.graph import Call, Graph, Layer, keras_depths, keras_order

__all__ = ["MODEL_CLASSES", "Call", "Graph", "Layer", "keras_depths", "keras_order", "read_graph"]
