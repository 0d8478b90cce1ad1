"""Image files, to the array that a Keras owner's own code makes of them, without Keras."""

from weight_transfer.images.cropping import Crop, crop_of, crop_text, fitted
from weight_transfer.images.files import image_files
from weight_transfer.images.loading import WAYS, ImageLoading, check_loading, load_image, load_images

__all__ = [
    "WAYS",
    "Crop",
    "ImageLoading",
    "check_loading",
    "crop_of",
    "crop_text",
    "fitted",
    "image_files",
    "load_image",
    "load_images",
]
