"""The version of this package."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "keras-resnet-to-torch"

try:
    __version__ = version(DISTRIBUTION)
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
