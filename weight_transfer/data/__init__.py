"""Images to batches, one pipeline for both frameworks: NumPy and OpenCV, no framework."""

from weight_transfer.data.batches import Batch, Batches
from weight_transfer.data.image_set import PARTS, ArrayImages, ImageSet, ImageStream, Part, Sample
from weight_transfer.data.order import Fixed, Order, Shuffled, Written, read_order, write_order
from weight_transfer.data.preparation import Preparation
from weight_transfer.data.sources import has_validation, open_images, own_parts
from weight_transfer.data.splits import split
from weight_transfer.data.stream_batches import KeySplit, StreamBatches

__all__ = [
    "PARTS",
    "ArrayImages",
    "Batch",
    "Batches",
    "Fixed",
    "ImageSet",
    "ImageStream",
    "KeySplit",
    "Order",
    "Part",
    "Preparation",
    "Sample",
    "Shuffled",
    "StreamBatches",
    "Written",
    "has_validation",
    "open_images",
    "own_parts",
    "read_order",
    "split",
    "write_order",
]
