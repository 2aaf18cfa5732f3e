"""The C library's memory allocator, set for programs that ask for the same large blocks at every step."""

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Lets glibc keep what the process frees, for its next request, instead of returning it to the kernel.

    On a CPU, XLA frees its temporary buffers after each step and asks for them again at the next. By default
    glibc returns such large blocks at once, and the kernel clears every page anew: a fifth to a third of the
    time of a small network's training step. The price is that memory once used stays with the process.

    The same from outside, for a program of one's own: ``MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0
    MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_TOP_PAD_=268435456`` in the environment.

    Returns:
      Whether it was done; False where the C library is not glibc (macOS, Windows, musl).
    """
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - only glibc has it
        mallopt = library.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = {
        _M_MMAP_MAX: 0,  # no block outside the heap, where it would go back when freed
        _M_ARENA_MAX: 1,  # a thread's own heap cannot grow to the size of such blocks
        _M_TRIM_THRESHOLD: 2**31 - 1,
        _M_TOP_PAD: 2**28,
    }
    accepted = [mallopt(name, value) == 1 for name, value in settings.items()]
    return all(accepted)
