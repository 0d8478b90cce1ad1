"""A verification as one HTML page, complete in itself: `write_report`."""

from weight_transfer.report.page import write_report

__all__ = ["write_report"]
