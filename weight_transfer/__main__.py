"""``python -m weight_transfer`` is ``weight-transfer``."""

from weight_transfer.cli import main

main()
