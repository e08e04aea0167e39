"""Large pages of memory for a program that computes on Linux CPUs.

The network allocates hundreds of megabytes for each tile. With pages of 4 KB
the system needs a fifth of the program's time for the allocation, with pages of
2 MB almost none. The C library uses large pages if GLIBC_TUNABLES is set, and
reads this variable only at the start of a process. So the program starts itself
again.
"""

import contextlib
import os
import pathlib
import platform
import sys

VARIABLE = 'GLIBC_TUNABLES'
OPTION = 'glibc.malloc.hugetlb'
GLIBC = (2, 35)    # the first that knows the option
SETTING = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')


def restart() -> None:
  """Starts this program again with large pages, if it is necessary.

  It returns if the program has large pages or has imported JAX already, if the
  system does not offer them, or if the program cannot be started again.
  """
  if not _is_needed():
    return
  set_before = os.environ.get(VARIABLE)
  tunables = [set_before] * bool(set_before) + [f'{OPTION}=1']
  sys.stdout.flush()
  sys.stderr.flush()
  with contextlib.suppress(OSError):
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]],
              os.environ | {VARIABLE: ':'.join(tunables)})


def _is_needed() -> bool:
  """Whether large pages exist and are not set for this process."""
  is_set = OPTION in os.environ.get(VARIABLE, '')
  if sys.platform != 'linux' or is_set or 'jax' in sys.modules:
    return False
  name, version = platform.libc_ver()
  if name != 'glibc' or tuple(map(int, version.split('.')[:2])) < GLIBC:
    return False
  try:
    return '[madvise]' in SETTING.read_text(encoding='utf-8')
  except OSError:
    return False
