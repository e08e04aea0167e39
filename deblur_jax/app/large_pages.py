"""Large pages of memory for a program that computes on Linux CPUs.

The network asks the system for hundreds of megabytes for each tile. In pages of
4 KB the system spends a fifth of the program's time on them. In pages of 2 MB
it does not. The C library asks for large pages where GLIBC_TUNABLES says so,
and it reads this variable once, when a process starts. So the program starts
itself again.
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
  """Starts this program again with large pages, where they must be asked for.

  Returns where the program has them or has loaded JAX already, where the system
  does not offer them, and where it cannot start the program again.
  """
  if not _must_be_asked_for():
    return
  set_before = os.environ.get(VARIABLE)
  tunables = [set_before] * bool(set_before) + [f'{OPTION}=1']
  sys.stdout.flush()
  sys.stderr.flush()
  with contextlib.suppress(OSError):
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]],
              os.environ | {VARIABLE: ':'.join(tunables)})


def _must_be_asked_for() -> bool:
  """Whether large pages exist, and this process has not asked for them."""
  asked = OPTION in os.environ.get(VARIABLE, '')
  if sys.platform != 'linux' or asked or 'jax' in sys.modules:
    return False
  name, version = platform.libc_ver()
  if name != 'glibc' or tuple(map(int, version.split('.')[:2])) < GLIBC:
    return False
  try:
    return '[madvise]' in SETTING.read_text()
  except OSError:
    return False
