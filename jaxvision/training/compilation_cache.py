"""Compiled programs kept on disk, so that the next run of a script starts sooner."""

import os
import tempfile
from pathlib import Path

import jax

__all__ = ["compilation_cache_folder", "keep_compiled_programs"]


def compilation_cache_folder() -> Path:
    """``$XDG_CACHE_HOME/jaxvision/xla``, or ``~/.cache/jaxvision/xla``. It may be deleted at any time.

    Raises:
      RuntimeError: if the user has no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jaxvision" / "xla"


def keep_compiled_programs(*, folder: Path | None = None) -> Path | None:
    """Lets JAX keep what takes a second or more to compile, and find it again in later processes.

    A cache is a convenience: if the folder cannot be written, nothing is kept and the run goes on. (A disk
    that fills up later, or a damaged entry, makes JAX warn and compile anew.) A folder that the user has set,
    as by ``JAX_COMPILATION_CACHE_DIR``, stays.

    Args:
      folder: by default :func:`compilation_cache_folder`.

    Returns:
      The folder in use, or None if there is none.
    """
    chosen = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009 (the attribute is made at run time)
    if chosen:
        return Path(chosen)
    try:
        folder = compilation_cache_folder() if folder is None else folder
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # permission bits do not tell: the disk may be full
            file.write(bytes(4096))
    except (OSError, RuntimeError) as error:
        print(f"compiled programs are not kept for the next run: {error}")
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder
