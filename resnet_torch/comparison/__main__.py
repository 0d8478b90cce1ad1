"""``python -m resnet_torch.comparison REQUEST.json``, run by `weight_transfer.parity.verify`: a process of its own."""

from resnet_torch.comparison.comparing import compare
from weight_transfer.parity.processes import serve

if __name__ == "__main__":
    serve(compare)
