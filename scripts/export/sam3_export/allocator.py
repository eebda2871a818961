"""Gives freed tensors back to the system at once, which glibc's `malloc` does not do by itself while we trace.

Tensors are aligned to 64 bytes. Up to 2.37, glibc cannot put such a request into a freed block of the very same size: it
looks for one with room to align in, and the few bytes over have meanwhile gone to a node of the graph that is being
traced. So every intermediate result took fresh memory, 0.45 GB for each block of the full-size image encoder. Blocks
above a fixed size from `mmap` are returned when freed; setting the size also stops glibc from raising it by itself.
"""

import ctypes

M_MMAP_THRESHOLD = -3  # <malloc.h>
MAPPED_FROM = 1 << 20


def return_freed_memory() -> bool:
    """For this process, from now on. False where the C library is not glibc: others do not need it."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return mallopt(M_MMAP_THRESHOLD, MAPPED_FROM) == 1
