"""The peak memory of this process, on every system."""

import pathlib


def peak() -> int:
  """Returns the largest memory that this process has had, in bytes."""
  try:
    lines = pathlib.Path('/proc/self/status').read_text().splitlines()
    # On Linux getrusage includes the peak of the parent process.
    return 1024 * next(
        int(line.split()[1]) for line in lines if line.startswith('VmHWM:'))
  except (OSError, StopIteration):
    pass
  try:
    import resource
  except ImportError:    # Windows
    import psutil
    return psutil.Process().memory_info().peak_wset
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss   # macOS: bytes


def reset_peak() -> int:
  """Resets the peak on Linux; returns the peak that now counts, in bytes."""
  try:
    pathlib.Path('/proc/self/clear_refs').write_text('5')
  except OSError:
    pass   # what was before still counts
  return peak()
