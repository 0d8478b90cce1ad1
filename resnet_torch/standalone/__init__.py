"""A port as a Python package of its own, which needs torch and safetensors and nothing of this project.

`own_source` takes what the network uses of this package's sources, `constructors` writes each
module as the expression that builds it, `forward` the network as one line a layer, `model_source`
the file of all that, `readme` the words, and `package` the folder.
"""

from resnet_torch.standalone.package import write_standalone

__all__ = ["write_standalone"]
