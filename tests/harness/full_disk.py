"""Programs whose disk is full at a random moment.

The system refuses to let a file grow above a random size, as it does for a
quota. The program must end with one clear line, must leave nothing half-written
and must keep what was there. Then the same command runs with enough room.
"""

import math
import os
import random
from collections.abc import Iterator

from deblur_jax import errors
from tests.harness import programs
from tests.harness.cases import Case

WORDS = ('no space', 'too large', 'File too large')


def cases(folder, count: int, *, seed: int = 0) -> Iterator[Case]:
  """Cases of all programs in turn.

  Args:
    folder: an empty folder.
    count: how many.
    seed: of the sizes.
  """
  draw = random.Random(seed)
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(folder / 'programs'))
  for number in range(count):
    name = list(programs.PROGRAMS)[number % len(programs.PROGRAMS)]
    whole = _whole(folder, name)
    if not whole.exists():
      code, printed = programs.run(
          programs.PROGRAMS[name], folder / 'in', whole)
      if code:
        raise programs.Lost(f'{name}: exit code {code}: {printed[-500:]}')
    sizes = [path.stat().st_size for path in whole.rglob('*')
             if path.is_file()]
    largest = int(math.exp(draw.uniform(0, math.log(max(sizes)))))
    yield Case(
        f'{number} {name}, {largest} bytes',
        lambda name=name, largest=largest, number=number: _try(
            name, folder, folder / str(number) / 'out', largest),
        waited=2 * programs.SECONDS)


def _try(name, folder, out, largest) -> str:
  """Runs a program on a full disk and again; returns what it said."""
  program, whole = programs.PROGRAMS[name], _whole(folder, name)
  code, printed = programs.run(program, folder / 'in', out, largest=largest)
  if 'Traceback' in printed or code and not _lines(printed):
    raise programs.Lost(f'exit code {code}: {printed[-800:]}')
  programs.compare(out, whole, program, all_of_it=code == 0)
  again, text = programs.run(program, folder / 'in', out)
  if again:
    raise programs.Lost(f'again: exit code {again}: {text[-500:]}')
  programs.compare(out, whole, program, all_of_it=True)
  if code:
    raise errors.UserError(_lines(printed)[-1])
  return printed


def _whole(folder, name):
  """Where a program is not disturbed; a report has the name of its folder."""
  return folder / f'whole_{name}' / 'out'


def _lines(printed: str) -> list[str]:
  """The lines that say what is wrong."""
  return [line for line in printed.splitlines()
          if any(word in line for word in WORDS)]
