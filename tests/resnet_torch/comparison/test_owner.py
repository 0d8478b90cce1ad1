"""The port called as its owner calls the Keras model."""

from __future__ import annotations

import subprocess
import sys

# Of a strided 1x1 convolution of four channels, whose channels_last gradient oneDNN computes beyond its memory.
NARROW = """
import torch
from resnet_torch.comparison.owner import backward
layout = torch.channels_last
model = torch.nn.Conv2d(4, 6, 1, stride=2).to(memory_format=layout)
for _ in range(6):
    given = torch.randn(2, 4, 112, 112).to(memory_format=layout).requires_grad_()
    backward(model(given).sum(), model, layout)
print(torch.backends.mkldnn.enabled)
"""


def test_a_narrow_strided_convolution_does_not_end_the_process():
    done = subprocess.run([sys.executable, "-c", NARROW], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr
