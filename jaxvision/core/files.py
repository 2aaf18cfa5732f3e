"""Writing a file so that a reader sees the old one or the new one, never half of it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["write_atomically"]


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """Calls ``write`` with a temporary file beside ``path``, then puts it in the place of ``path``.

    Folders on the way are made. If anything fails, the temporary file is removed and ``path`` is as before.

    Args:
      path: the file to be written.
      write: writes the whole content into the binary file it is given.

    Returns:
      ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # or the new name could outlive a power cut that its content did not
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path
