"""A checkpoint, damaged as a disk or a person damages it."""

import pathlib
import random
import shutil
from collections.abc import Iterator

import helpers
import jax
import numpy as np
import run_folders

from deblur_jax.evaluation import test_sets
from deblur_jax.models import NETWORKS
from deblur_jax.pretrained import zoo
from deblur_jax.training import train, workdir
from tests.harness.cases import Case
from tests.harness.mutations import damage_bytes


class Changed(Exception):
  """A checkpoint that gave other values than those that were saved."""


def cases(folder, count: int, *, seed: int = 0) -> Iterator[Case]:
  """Cases of a run with one checkpoint.

  Args:
    folder: an empty folder.
    count: how many.
    seed: of the changes.
  """
  draw = random.Random(seed)
  whole, run = folder / 'whole', folder / 'run'
  config = helpers.tiny(**{
      'nets.net': {'name': 'single_scale', **NETWORKS['single_scale'].small}})
  config['data']['train'] = config['data']['test'] = dict(
      name='builtin', split='test')
  params = run_folders.untrained(whole, config)
  # The names of some are random.
  files = sorted(
      (path.relative_to(whole) for path in whole.rglob('*')
       if path.is_file() and workdir.CHECKPOINTS in path.parts),
      key=lambda path: (path.parent, (whole / path).stat().st_size, path))
  readers = {reader.__name__: reader for reader in (loads, evaluates, resumes)}
  for reader in readers.values():
    reader(whole)
  for number in range(count):
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(whole, run)
    path = draw.choice(files)
    kind = damage_file(draw, run / path)
    reader = draw.choice(sorted(readers))

    def read(reader=reader):
      found = readers[reader](run)
      if found is not None and not _same(found, params):
        raise Changed('other values than those that were saved')
      return 'the same values'

    yield Case(f'{number} {reader}: {path} {kind}', read)


def loads(run):
  """As `deblur -m RUN`."""
  return zoo.load(run).state.params


def evaluates(run):
  """As experiments.evaluate, up to the first picture."""
  config = workdir.read_config(run)
  return test_sets.load_on_one_device(config, run)[1].params


def resumes(run):
  """As experiments.train before the first step."""
  config, parts = train.prepare(workdir.read_config(run), run)
  from deblur_jax.training import checkpoint

  checkpoints = checkpoint.Checkpoints(run / workdir.CHECKPOINTS)
  try:
    return checkpoints.restore(parts.abstract_state).params
  finally:
    checkpoints.close()


def damage_file(draw: random.Random, path: pathlib.Path) -> str:
  """Deletes, empties, cuts or changes a file; returns what was done."""
  kind = draw.choice(('delete', 'delete folder', 'bytes', 'bytes', 'bytes'))
  if kind == 'delete folder' and path.parent.name != workdir.CHECKPOINTS:
    shutil.rmtree(path.parent)
  elif kind.startswith('delete'):
    path.unlink()
  else:
    kind, content = damage_bytes(draw, path.read_bytes())
    path.write_bytes(content)
  return kind


def _same(found, params) -> bool:
  leaves = jax.tree.leaves(found), jax.tree.leaves(params)
  return len(leaves[0]) == len(leaves[1]) and all(
      map(np.array_equal, *leaves))
