"""What the networks are made of and cost, beside what the paper says: ``python -m resnet_torch compare``.

Not `resnet_torch.comparison`, which holds a port against its Keras original.
"""
