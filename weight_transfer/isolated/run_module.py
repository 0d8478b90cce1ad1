"""``python .../run_module.py PATHS MODULE ARGUMENTS``: as ``python -m``, but blind to the folder it is started in.

Python puts the folder of a file that it runs first on its path, here one that holds nothing else, and the current
folder only for ``-m`` and ``-c``. ``-P`` is 3.11's, and ``-I`` also drops PYTHONPATH and a user's own packages.

Args:
    PATHS: JSON of the folders to import from beside Python's own, the starting process's.
    MODULE: What to run as ``__main__``.
    ARGUMENTS: Its own.
"""

import os
import sys

if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
    del sys.path[0]  # with PYTHONSAFEPATH it is not there

import json
import runpy

_, paths, module, *arguments = sys.argv
sys.path += [path for path in json.loads(paths) if path not in sys.path]
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
