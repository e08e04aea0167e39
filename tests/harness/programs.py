"""Programs that write files, in processes that fork from one with all imports.

What stands under a final name must be whole after whatever ended a program, and
after a second start everything must be what an undisturbed run writes.
"""

import base64
import json
import multiprocessing
import os
import pathlib
import resource
import runpy
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection
from typing import NamedTuple

import films
import helpers
import jax
import numpy as np
import run_folders
import sample_pictures

from deblur_jax import methods
from deblur_jax.evaluation import test_sets
from deblur_jax.models import NETWORKS
from deblur_jax.state import TrainState
from deblur_jax.training import train, workdir

SIDE = 64        # pixels
SECONDS = 600    # of a program at most
KILLED = -9      # an exit code


class Lost(Exception):
  """A file that is not what an undisturbed run writes, or a program that hangs.
  """


def files(out: pathlib.Path) -> dict[str, bytes]:
  """The files under their final names, and their bytes."""
  return {str(path.relative_to(out)): path.read_bytes()
          for path in sorted(out.rglob('*')) if path.is_file() and not any(
              part.startswith('.') for part in path.relative_to(out).parts)}


def losses(out: pathlib.Path) -> dict[str, bytes]:
  """The losses of a training that has ended; nothing of one that has not."""
  if not (out / 'summary.json').exists():
    return {}
  return {workdir.METRICS: json.dumps(
      [[line['step'], line['loss']] for line in workdir.read_metrics(out)]
  ).encode()}


def last_state(run: pathlib.Path) -> TrainState:
  """The state of a run's last checkpoint, NumPy."""
  config = workdir.read_config(run)
  method = methods.build(config, from_checkpoint=True)
  return jax.tree.map(np.asarray, test_sets.load(config, method, run))


def values(out: pathlib.Path) -> dict[str, bytes]:
  """The arrays of a converted model; the names of its files are random."""
  run = out / 'model'
  return {jax.tree_util.keystr(path): leaf.tobytes() for path, leaf in
          jax.tree_util.tree_leaves_with_path(
              last_state(run) if run.exists() else {})}


def whole_set(out: pathlib.Path) -> dict[str, bytes]:
  """The files of a prepared set; nothing of one that lacks pairs."""
  index = out / 'index.json'
  found = json.loads(index.read_text()) if index.exists() else {}
  return files(out) if found and len(found['pairs']) == found['total'] else {}


class Program(NamedTuple):
  """A program that writes files.

  Attributes:
    words: the module and its arguments; IN and OUT stand for folders.
    varies: parts of the names of files that have times or folders in them: they
      must exist, and nothing more.
    content: folder -> what must be equal, by names.
    begins_with: a folder of IN that OUT is a copy of; '' for none.
  """

  words: Sequence[str]
  varies: Sequence[str] = ()
  content: Callable[[pathlib.Path], Mapping[str, bytes]] = files
  begins_with: str = ''


RESTORE = ('deblur_jax', 'restore', 'IN/photos', '-o', 'OUT/', '-m', 'IN/run',
           '--skip-existing')
STEPS = 8
TRAIN = ('experiments.train', '--workdir=OUT',
         '--config=configs/multiscale_gopro.py:debug', *(
             f'--config.{key}={value}' for key, value in {
                 'total_steps': STEPS, 'log_every': 1, 'batch_size': 2,
                 'nets.net.dtype': 'float32', 'nets.net.scales': 1,
                 'nets.net.depth': 4, 'nets.net.features': 2,
                 'data.loader.backend': 'threads', 'data.loader.crop': 16,
                 'validate.pictures': 1, 'validate.crop': 32}.items()))
PROGRAMS = {
    'prepare': Program((
        'experiments.prepare_data', '--source=side_by_side', '--root',
        'IN/pairs', '--option=sharp_side=left', '--out=OUT'),
                       content=whole_set),
    'folder': Program(RESTORE),
    'jpeg': Program((*RESTORE, '--ext=jpg')),
    'tiff': Program((*RESTORE, '--ext=tif')),
    'video': Program((
        'deblur_jax', 'restore', 'IN/film.mp4', '-o', 'OUT/film.mp4', '-m',
        'IN/run', '--skip-existing')),
    'prior': Program((
        'experiments.prior', '--task=denoise', '--input', 'IN/photos',
        '--config=configs/prior_denoise.py:debug', '--out=OUT'),
                     varies=('json', 'csv', 'npz')),
    'export': Program((
        'deblur_jax', 'export', '-m', 'IN/run', '-o', 'OUT',
        '--kind=stablehlo', f'--size={SIDE}x{SIDE}', '--overwrite')),
    'convert': Program((
        'deblur_jax', 'convert', 'IN/deepdeblur.pt', '-o', 'OUT/model'),
                       content=values),
    'report': Program(
        ('experiments.report', '--workdir=OUT'), begins_with='study'),
    # A checkpoint every step, and lines of metrics for all steps before one.
    'train': Program((*TRAIN, '--config.save_every=1'), content=losses),
    'metrics': Program(
        (*TRAIN, f'--config.save_every={STEPS}'), content=losses),
}


def _make_photos(folder) -> None:
  for i in range(2):
    sample_pictures.save(
        folder / f'{i}.png', sample_pictures.smooth(i, SIDE, SIDE)['blur'])


def _make_pairs(folder) -> None:
  for i in range(2):
    pair = sample_pictures.smooth(i, SIDE, SIDE)
    sample_pictures.save(folder / f'{i}.png', np.concatenate(
        [pair['sharp'], pair['blur']], axis=1))


def _make_weights(path) -> None:
  # It starts the threads of JAX, which a process that forks must not have.
  from tests.pretrained.test_convert import PTH

  path.write_bytes(zlib.decompress(base64.b64decode(PTH)))


# What the words of programs name behind IN/, made where it is needed.
INPUTS = {
    'photos': _make_photos, 'pairs': _make_pairs,
    'deepdeblur.pt': _make_weights,
    'film.mp4': lambda path: films.film(path, size=(SIDE, SIDE)),
    'run': lambda folder: run_folders.untrained(
        folder, small_config(), scale=0.1),
    'study': lambda folder: run_folders.finished(folder / 'one')}


def small_config() -> dict:
  """The config of a training of two seconds."""
  config = helpers.tiny(
      total_steps=30, log_every=1, save_every=3, batch_size=2, **{
          'nets.net': {'name': 'single_scale',
                       **NETWORKS['single_scale'].small},
          'method.ema': 0.9, 'data.loader.backend': 'threads'})
  config['data']['train'] = config['data']['test'] = dict(
      name='builtin', split='test')
  return config


def train_small(folder: str, backend: str) -> None:
  """Trains in this process, which may be killed; its words go to a file."""
  said = os.open(f'{folder}.txt', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
  os.dup2(said, 2)
  config = small_config()
  config['data']['loader']['backend'] = backend
  train.run(config, pathlib.Path(folder))


def forking():
  """Returns what starts processes: they fork from one that has all imports."""
  # Python 3.13.0 does not give that one the places of modules.
  os.environ['PYTHONPATH'] = os.pathsep.join(
      (str(helpers.ROOT), str(helpers.ROOT / 'tests')))
  processes = multiprocessing.get_context('forkserver')
  processes.set_forkserver_preload([__name__])
  return processes


def run(
    program: Program, inputs: pathlib.Path, out: pathlib.Path, *,
    largest: int | None = None, stop: Callable[[], bool] = lambda: False,
    by: int = signal.SIGKILL) -> tuple[int, str]:
  """Runs a program until it ends.

  Args:
    program: the program.
    inputs: the folder IN.
    out: the folder OUT.
    largest: bytes of the largest file that it may write, as on a full disk.
    stop: asked again and again; if it returns True, the program gets a signal.
    by: that signal.

  Returns:
    Its exit code, and what it printed.

  Raises:
    Lost: it ran longer than SECONDS.
  """
  inputs.mkdir(exist_ok=True)
  for name, make in INPUTS.items():
    if not (inputs / name).exists() and (
        name == program.begins_with or f'IN/{name}' in program.words):
      make(inputs / name)
  if program.begins_with and not out.exists():
    shutil.copytree(inputs / program.begins_with, out)
  words = [word.replace('IN/', f'{inputs}/').replace('OUT', str(out))
           for word in program.words]
  processes = forking()
  reader, writer = processes.Pipe(duplex=False)
  child = processes.Process(target=_main, args=(words, largest, writer))
  child.start()
  writer.close()
  end, printed = time.monotonic() + SECONDS, b''
  while not (kills_it := stop() or time.monotonic() > end):
    if connection.wait([reader], timeout=0.005):
      if not (chunk := os.read(reader.fileno(), 2**16)):
        break
      printed += chunk
  if kills_it:
    os.kill(child.pid, by)
  while by != signal.SIGKILL and (chunk := os.read(reader.fileno(), 2**16)):
    printed += chunk
  child.join()
  if time.monotonic() > end:
    raise Lost(f'no end after {SECONDS} s: {printed[-500:]}')
  return child.exitcode, printed.decode(errors='replace')


def compare(out: pathlib.Path, whole: pathlib.Path, program: Program, *,
            all_of_it: bool) -> int:
  """Compares what a program left with what an undisturbed run writes.

  Args:
    out: its folder.
    whole: that of the undisturbed run.
    program: the program.
    all_of_it: whether it has ended, so that nothing may be missing.

  Returns:
    The number of files that are there.

  Raises:
    Lost: they differ.
  """
  left, expected = program.content(out), program.content(whole)
  if all_of_it and left.keys() != expected.keys():
    raise Lost(f'{sorted(left)} instead of {sorted(expected)}')
  for name, content in left.items():
    if name not in expected or content != expected[name] and not any(
        word in name for word in program.varies):
      raise Lost(f'{name} has {len(content)} bytes instead of '
                 f'{len(expected.get(name, b""))}, or other ones')
  return len(left)


def _main(words, largest, writer):
  """Runs a program in this process."""
  for number, name in ((1, 'stdout'), (2, 'stderr')):
    os.dup2(writer.fileno(), number)
    setattr(sys, name, open(number, 'w', closefd=False))
  writer.close()
  os.chdir(helpers.ROOT)
  if largest is not None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
  sys.argv = [*words]
  runpy.run_module(words[0], run_name='__main__', alter_sys=True)
