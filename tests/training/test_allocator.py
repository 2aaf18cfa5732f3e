"""Freed memory stays with the process: the second use of a large block faults in no pages."""

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from jaxvision.training.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 * 2**20, np.uint8)  # made, and freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

done = keep_freed_memory() if sys.argv[1] == "keep" else None
print(done, [faults() for _ in range(3)][-1])
"""


def _faults(word):
    done = subprocess.run([sys.executable, "-c", PROGRAM, word], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="the C library is not glibc"
)
def test_the_third_use_of_a_block_costs_no_page_faults():
    assert _faults("default")[1] > 16  # at least one for each 4 MiB
    assert _faults("keep") == ("True", 0)
