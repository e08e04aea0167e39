"""Programs that write files, killed by SIGKILL while they write.

Each is started again by the same command. What stands under a final name must
be whole after the kill, and after the second start everything must be what an
undisturbed run writes.
"""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import films
import helpers
import numpy as np
import sample_pictures

from deblur_jax import errors
from tests.harness.cases import Case

SIDE = 64        # pixels
SECONDS = 600    # of a program at most


class Lost(Exception):
  """A file that is not what an undisturbed run writes."""


class Program(NamedTuple):
  """A program that writes files.

  Attributes:
    command: its arguments behind the interpreter; IN and OUT stand for folders.
    varies: parts of the names of files that have times or folders in them: they
      must exist, and nothing more.
  """

  command: Sequence[str]
  varies: Sequence[str] = ()


DEBLUR = ('-m', 'deblur_jax')
PROGRAMS = {
    'folder': Program((
        *DEBLUR, 'restore', 'IN/photos', '-o', 'OUT/', '-m', 'small',
        '--blur-threshold=0', '--skip-existing')),
    'video': Program((
        *DEBLUR, 'restore', 'IN/film.mp4', '-o', 'OUT/film.mp4', '-m', 'small',
        '--skip-existing')),
    'prepare': Program((
        '-m', 'experiments.prepare_data', '--source=side_by_side',
        '--root=IN/pairs', '--option=sharp_side=left', '--out=OUT')),
    'prior': Program((
        '-m', 'experiments.prior', '--task=denoise', '--input=IN/photos',
        '--config=configs/prior_denoise.py:debug', '--output=OUT'),
                     varies=('json', 'csv', 'npz')),
    'export': Program((
        *DEBLUR, 'export', '-m', 'small', '-o', 'OUT', '--kind=stablehlo',
        f'--size={SIDE}x{SIDE}', '--overwrite')),
}


def cases(folder, count: int, *, seed: int = 0) -> Iterator[Case]:
  """Cases of all programs in turn.

  Args:
    folder: an empty folder.
    count: how many.
    seed: of the moments of the kills.
  """
  draw = random.Random(seed)
  _make_inputs(folder / 'in')
  whole = {}    # program -> (the files of an undisturbed run, its seconds)
  for number in range(count):
    name = list(PROGRAMS)[number % len(PROGRAMS)]
    program = PROGRAMS[name]
    if name not in whole:
      out = folder / f'whole_{name}'
      seconds = _killed(program, folder, out, after=SECONDS)
      whole[name] = _files(out), seconds
    files, seconds = whole[name]
    after = draw.random() * seconds
    yield Case(
        f'{number} {name}, killed {after:.1f} s after its first file',
        lambda program=program, files=files, after=after, number=number: _try(
            program, folder, folder / f'out_{number}', files, after))


def _try(program, folder, out, whole, after) -> str:
  """Kills a program and starts it again; returns what the kill left."""
  _killed(program, folder, out, after=after)
  left = _files(out)
  _compare(left, whole, program)
  _killed(program, folder, out, after=SECONDS)
  ended = _files(out)
  _compare(ended, whole, program)
  if ended.keys() != whole.keys():
    raise Lost(f'{sorted(ended)} instead of {sorted(whole)}')
  return f'{len(left)} of {len(whole)} files after the kill'


def _killed(program, folder, out, *, after) -> float:
  """Runs a program, killed some seconds after its first file appears.

  Returns:
    The seconds from then to its end.
  """
  words = [word.replace('IN/', f'{folder}/in/').replace('OUT', str(out))
           for word in program.command]
  with open(folder / 'log', 'wb') as log:
    process = subprocess.Popen(
        [sys.executable, *words], cwd=helpers.ROOT, stdout=log, stderr=log,
        start_new_session=True, env=os.environ | {'JAX_PLATFORMS': 'cpu'})
  began = None
  while process.poll() is None:
    if began is None and out.is_dir() and any(out.iterdir()):
      began = time.monotonic()
    if began is not None and time.monotonic() - began >= after:
      os.killpg(process.pid, signal.SIGKILL)
      break
    time.sleep(0.005)
  code = process.wait(SECONDS)
  if code not in (0, -signal.SIGKILL):
    text = (folder / 'log').read_text(errors='replace')
    raise Lost(f'exit code {code}: {errors.first_line(text[-500:])}')
  return time.monotonic() - (began or time.monotonic())


def _files(out) -> dict[str, bytes]:
  """The files under their final names, and their bytes."""
  return {str(path.relative_to(out)): path.read_bytes()
          for path in sorted(out.rglob('*')) if path.is_file() and not any(
              part.startswith('.') for part in path.relative_to(out).parts)}


def _compare(files, whole, program) -> None:
  for name, content in files.items():
    if any(word in name for word in program.varies):
      continue
    if content != whole.get(name):
      raise Lost(f'{name} has {len(content)} bytes instead of '
                 f'{len(whole.get(name, b""))}, or other ones')


def _make_inputs(folder: pathlib.Path) -> None:
  """Pictures, pairs side by side, and a film."""
  for i in range(4):
    pair = sample_pictures.smooth(i, SIDE, SIDE)
    sample_pictures.save(folder / 'photos' / f'{i}.png', pair['blur'])
    sample_pictures.save(folder / 'pairs' / f'{i}.png', np.concatenate(
        [pair['sharp'], pair['blur']], axis=1))
  films.film(folder / 'film.mp4', size=(SIDE, SIDE))
