"""Programs that write files, killed by SIGKILL while they write.

Each is started again by the same command; see `programs` for what is compared.
"""

import math
import random
import time
from collections.abc import Iterator

from tests.harness import programs
from tests.harness.cases import Case

# Those that keep what they have finished, and one that writes a single file.
NAMES = ('folder', 'video', 'prepare', 'prior', 'export')


def cases(folder, count: int, *, seed: int = 0) -> Iterator[Case]:
  """Cases of all programs in turn.

  Args:
    folder: an empty folder.
    count: how many.
    seed: of the moments of the kills.
  """
  draw = random.Random(seed)
  seconds = {}    # of an undisturbed run, from its first file to its end
  for number in range(count):
    name = NAMES[number % len(NAMES)]
    if name not in seconds:
      seconds[name] = _run(name, folder, folder / f'whole_{name}')
    after = draw.random() * seconds[name]
    yield Case(
        f'{number} {name}, killed {after:.1f} s after its first file',
        lambda name=name, after=after, number=number: _try(
            name, folder, folder / f'out_{number}', after),
        waited=2 * programs.SECONDS)


def _try(name, folder, out, after) -> str:
  """Kills a program and starts it again; returns what the kill left."""
  program, whole = programs.PROGRAMS[name], folder / f'whole_{name}'
  _run(name, folder, out, after=after)
  left = programs.compare(out, whole, program, all_of_it=False)
  _run(name, folder, out)
  ended = programs.compare(out, whole, program, all_of_it=True)
  return f'{left} of {ended} files after the kill'


def _run(name, folder, out, *, after=math.inf) -> float:
  """Runs a program, killed some seconds after its first file appears.

  Returns:
    The seconds from then to its end.
  """
  first = []    # the time when there was a file

  def is_time():
    if not first and out.is_dir() and any(out.iterdir()):
      first.append(time.monotonic())
    return bool(first) and time.monotonic() - first[0] >= after

  code, printed = programs.run(
      programs.PROGRAMS[name], folder / 'in', out, stop=is_time)
  if code not in (0, programs.KILLED):
    raise programs.Lost(f'exit code {code}: {printed[-500:]}')
  return time.monotonic() - first[0]
