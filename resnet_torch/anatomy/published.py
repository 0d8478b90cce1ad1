"""The figures of the paper.

Source: He et al. 2015 (arXiv:1512.03385v1), table 1, for images of 224 x 224.
"""

from __future__ import annotations

from collections.abc import Mapping

INPUT_SIZE = (224, 224)

# "FLOPs (multiply-adds)": of the convolutions and the classifier alone, to one decimal.
MULTIPLY_ADDS: Mapping[int, float] = {18: 1.8e9, 34: 3.6e9, 50: 3.8e9, 101: 7.6e9, 152: 11.3e9}
UNIT = 0.1e9  # of the last digit

# Height and width of what each row of the table gives.
OUTPUT_SIZES: Mapping[str, tuple[int, int]] = {
    "conv1": (112, 112),
    "conv2_x": (56, 56),
    "conv3_x": (28, 28),
    "conv4_x": (14, 14),
    "conv5_x": (7, 7),
    "pool": (1, 1),
}
