"""``python -m resnet_torch.comparison REQUEST.json``: run by `weight_transfer.parity.verify`.

A process of its own. It prints JSON lines: progress, then one result.
"""

import json
import sys
from pathlib import Path

from resnet_torch.comparison.comparing import compare

if __name__ == "__main__":
    request = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"result": compare(request)}), flush=True)
