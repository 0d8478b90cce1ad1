"""How much a file may ask for before it is refused: each far above any real ResNet checkpoint.

The largest real ones hold some 60 million numbers in about a thousand arrays. Keras itself guards
only the ratio of declared to stored bytes (keras/src/saving/saving_lib.py, _H5_DATASET_MAX_EXPANSION).
"""

MIB, GIB = 2**20, 2**30

FILE_BYTES = 20 * GIB
ARRAY_BYTES = 2 * GIB
TOTAL_BYTES = 8 * GIB

EXPANSION = 100  # unpacked to packed bytes, for what unpacks to more than this:
EXPANSION_FREE_BYTES = 16 * MIB

HDF5_RANK = 8
HDF5_DEPTH = 32
HDF5_OBJECTS = 100_000
HDF5_ATTRIBUTE_BYTES = 16 * MIB
HDF5_CHUNK_BYTES = 64 * MIB
HDF5_CHUNKS = 50_000
NAME_CHARACTERS = 1024

JSON_BYTES = 16 * MIB
JSON_DEPTH = 100

ZIP_MEMBERS = 64
SHARDS = 1024
