"""Limits that no real model comes near.

Source: the reference reader's, in which 196 of 196 hostile files were held.
"""

MAX_LAYERS = 10_000
MAX_NESTING = 32  # models within models
MAX_DEPTH = 100  # lists and dicts within the arguments of a call
MAX_WORK = 200_000  # calls and values read after dissolving: shared models multiply them
