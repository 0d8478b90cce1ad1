"""Whether a port computes what Keras computes, layer by layer."""
