"""The command line, ``weight-transfer``."""

from weight_transfer.cli.app import main

__all__ = ["main"]
