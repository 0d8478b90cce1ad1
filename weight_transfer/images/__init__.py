"""Image files, to the array that a Keras owner's own code makes of them, without Keras."""

from weight_transfer.images.files import image_files
from weight_transfer.images.loading import WAYS, ImageLoading, check_loading, load_image, load_images

__all__ = ["WAYS", "ImageLoading", "check_loading", "image_files", "load_image", "load_images"]
