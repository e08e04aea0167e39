"""Trains one config in one folder: resume, logs, pictures, checkpoints.

A run is checked in this order, so that a mistake costs seconds: the keys of the
config, the folder, the lists of the data sets, the networks and the method, the
sizes of the batches, one traced step, the headers of the pictures. Only then a
few pictures are decoded, and at last parameters are made and the folder is
written.

The same command again resumes a run where it stopped, bit for bit.
"""

import contextlib
import hashlib
import math
import os
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax import data, errors, methods
from deblur_jax.config import (
  bind,
  call,
  check_counts,
  check_keys,
  check_seed,
  require,
)
from deblur_jax.data import device_transforms, verify
from deblur_jax.evaluation import test_sets
from deblur_jax.ops import atomic_files, macs, process_memory
from deblur_jax.state import Method, Metrics, TrainState
from deblur_jax.training import (
  checkpoint,
  hooks,
  loop,
  optim,
  parallel,
  profiling,
  signals,
  workdir,
)

KEYS = ('seed', 'total_steps', 'batch_size', 'log_every', 'save_every',
        'tensorboard', 'method', 'nets', 'optim', 'data', 'augment', 'validate')
# Absent from the configs of older runs, and the values that these had.
OPTIONAL = {'profile': (), 'split_state': False}
COUNTS = ('total_steps', 'batch_size', 'log_every', 'save_every')
# Where batch_size is None: crops on each device, in each part of a batch.
CROPS_PER_DEVICE = 2


class Setup(NamedTuple):
  """All parts of an experiment, before its first step.

  Attributes:
    method: the method.
    step: (state, batch, key) -> (state, metrics), jitted over the devices.
    init: () -> the first state.
    abstract_state: shapes and shardings of the state.
    batches: finished steps -> the batches that follow.
    key: the random key of the steps.
    mesh: the devices.
    source: the training set.
    crop: the largest side of its crops, pixels.
    batch_size: crops in a batch, over all devices.
    test: the test set.
    names: step -> the names of the pictures of its batch, of this process.
  """

  method: Method
  step: Callable[..., tuple[TrainState, Metrics]]
  init: Callable[[], TrainState]
  abstract_state: TrainState
  batches: Callable[[int], Any]
  key: jax.Array
  mesh: jax.sharding.Mesh
  source: data.Source
  crop: int
  batch_size: int
  test: data.Source
  names: Callable[[int], list[str]]


class Result(NamedTuple):
  """How a run ended.

  Attributes:
    step: number of finished steps.
    finished: False where a signal stopped it; the same command resumes it.
  """

  step: int
  finished: bool


def check(config: Mapping[str, Any]) -> None:
  """Checks the keys of a config; reads no file.

  Args:
    config: plain dicts, see configs/. If its batch_size is None, the batch
      follows the devices: `CROPS_PER_DEVICE` crops on each, in each part into
      which the method splits a batch. `prepare` writes the number into it.

  Raises:
    UserError: unknown, missing or impossible keys.
  """
  if 'chunk' in config:
    raise errors.UserError(
        'This config is of a prior, which is fitted and not trained; give it '
        'to python -m experiments.prior.')
  check_keys(config, KEYS, optional=tuple(OPTIONAL))
  workdir.check_form(config)
  bind(test_sets.make_validate, config['validate'], where='validate')
  check_seed(config['seed'])
  check_counts({key: config[key] for key in COUNTS
                 if (key, config[key]) != ('batch_size', None)})
  if not isinstance(config.get('split_state', False), bool):
    raise errors.UserError(
        'split_state must be True or False, got '
        f'{errors.shown(config["split_state"])}.')
  if 'profile' in config:
    profiling.check(config['profile'], total_steps=config['total_steps'])
  check_counts({
      f'validate.{key}': value for key, value in config['validate'].items()})
  unknown = set(config['data']) - {'train', 'test', 'loader', 'blur'}
  if unknown:
    raise errors.UserError(
        f'Unknown key data.{min(unknown)}; known: train, test, loader, blur.')
  for key in ('train', 'test'):
    require(require(config['data'], key, where='data'), 'name',
            where=f'data.{key}')
  require(require(config['data'], 'loader', where='data'), 'crop',
          where='data.loader')


def setup(
    config: Mapping[str, Any], *, from_checkpoint: bool = False,
    devices: Sequence[jax.Device] | None = None) -> Setup:
  """Builds what a config describes.

  It decodes no picture and makes no parameters; it traces one step of each
  crop size.

  Args:
    config: plain dicts, see configs/.
    from_checkpoint: see `methods.build`.
    devices: by default all devices of all processes.

  Raises:
    UserError: a fault in the config or the data that prevents training.
  """
  check(config)
  mesh = parallel.data_mesh(devices)
  options = config['data']['loader']
  prepare_floats = device_transforms.make_prepare(config, lambda batch: batch)
  # ---- the lists of the data sets, and the method
  source, test = (data.open_side(config, side) for side in ('train', 'test'))
  method = methods.build(config, from_checkpoint=from_checkpoint)
  # ---- the batches, and how they are read
  crop, batch_size = options['crop'], config['batch_size']
  if batch_size is None:
    batch_size = (CROPS_PER_DEVICE * mesh.size
                  * math.lcm(*method.splits.values()))
  stages = data.stages(crop, batch_size, options.get('progressive', ()))
  for stage in stages:
    parallel.check_batch_size(stage.batch_size, mesh)
  loader = call(
      data.build, dict(
          options, batch_size=batch_size, seed=config['seed'],
          process_index=jax.process_index(),
          process_count=jax.process_count()),
      args=(source,), where='data.loader')
  device_transforms.check_pairing(
      source, config, unpaired=method.unpaired, window=method.window)
  test_sets.check_test_set(test, window=method.window)
  split = config.get('split_state', False)
  abstract_state = loop.abstract_state(method, crop, mesh, split=split)
  for stage in stages:
    for what, parts in method.splits.items():
      optim.check_parts(stage.batch_size, parts, what=what)
    loop.abstract_state(method, stage.crop, mesh)
    loop.check_step(method, prepare_floats, mesh, abstract_state, {
        key: jax.ShapeDtypeStruct(
            (stage.batch_size, stage.crop, stage.crop, 3), jnp.float32)
        for key in source.keys})
  # ---- the headers of all pictures
  largest = max(stage.crop for stage in stages)
  verify.headers(source, crop=largest)
  verify.headers(test)
  # One key each for weights and steps; the data has the seed itself.
  key = jax.random.key(config['seed'])
  key_init, key_steps = jax.random.split(key)

  def batches(finished: int):
    constants = parallel.put(loader.constants(), parallel.replicated(mesh))
    for batch in parallel.prefetch(loader.batches(finished), mesh):
      yield batch | constants

  return Setup(
      method,
      loop.make_step(method, device_transforms.make_prepare(config,
                                                            loader.unpack),
                     mesh, state=abstract_state),
      lambda: loop.init(method, key_init, crop, mesh, split=split),
      abstract_state, batches,
      parallel.put_key(key_steps, mesh), mesh, source, largest, batch_size,
      test, lambda step: loader.names(step - 1))


def prepare(
    config: Mapping[str, Any], folder: pathlib.Path, *,
    allow_config_change: bool = False, resume: str = 'newest'
) -> tuple[dict[str, Any], Setup]:
  """Checks a run as far as it can be checked without decoding a picture.

  It writes nothing; with `resume` it may move damaged checkpoints.

  Args:
    config: plain dicts, see configs/.
    folder: the folder of the run; it need not exist.
    allow_config_change: accepts that the folder's config differs.
    resume: as of `run`.

  Returns:
    The config with all its networks and its batch_size, and its parts.

  Raises:
    UserError: a fault in the config, the data or the folder.
  """
  check(config)
  config = {**OPTIONAL, **methods.complete(config)}
  resumes = checkpoint.exists(folder / workdir.CHECKPOINTS)
  if jax.process_index() == 0:
    workdir.check_folder(folder)
  stored = (workdir.read_config(folder)     # refuses another format
            if (folder / workdir.CONFIG).exists() else {})
  if resumes:
    config = _with_open_keys(config, stored)
    if not allow_config_change:
      workdir.check_config(folder, config)
  parts = setup(config, from_checkpoint=resumes)
  side = _differing_data(folder, {'train': parts.source, 'test': parts.test})
  if resumes and not allow_config_change and side:
    raise errors.UserError(
        f'{folder} has a run with other pictures in data.{side}. Choose '
        'another --workdir, or pass --allow_config_change to train.')
  if resumes and _resumes_from_good(resume):
    checkpoints = checkpoint.Checkpoints(folder / workdir.CHECKPOINTS)
    checkpoints.set_damaged_aside(parts.abstract_state)
    checkpoints.close()
  checkpoint.check(folder / workdir.CHECKPOINTS, parts.abstract_state,
                   total_steps=config['total_steps'])
  return dict(config, batch_size=parts.batch_size), parts


def _resumes_from_good(resume: str) -> bool:
  good = errors.look_up(
      {'newest': False, 'newest_good': True}, resume, what='resume')
  if good and jax.process_count() > 1:
    raise errors.UserError(
        'resume=newest_good moves checkpoints: begin with one process alone.')
  return good


def completed_by(
    config: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
  """Completes a config for the comparison with the config of a run.

  Args:
    config: plain dicts.
    stored: the config of a run, with all networks and the batch_size.

  Returns:
    `config`, with what it leaves open as `stored` has it.
  """
  return _with_open_keys(methods.completed_by(config, stored), stored)


def _with_open_keys(config, stored):
  """`config` with the values of `stored` for None: the batch of the run."""
  return dict(config, **{
      key: stored[key] for key, value in config.items()
      if value is None and key in stored})


def run(
    config: Mapping[str, Any], folder: pathlib.Path, *,
    allow_config_change: bool = False, resume: str = 'newest'
) -> Result:
  """Trains a config in a folder; all processes call it.

  Args:
    config: plain dicts, see configs/.
    folder: created if it does not exist; a run in it is resumed.
    allow_config_change: resumes although the folder's config differs.
    resume: 'newest' checkpoint, which must be whole, or the 'newest_good' one;
      the damaged ones are moved to the folder checkpoints_damaged.

  Returns:
    The step reached, and whether that was the last.

  Raises:
    UserError: a fault in the config, the data or the folder; a loss or
      gradient that is not finite; a checkpoint that cannot be written; another
      process of the run has ended.
  """
  config, parts = prepare(
      config, folder, allow_config_change=allow_config_change, resume=resume)
  is_new, first = not folder.exists(), jax.process_index() == 0
  folder = errors.make_folder(folder)
  # Before the data is loaded, which may take long.
  with workdir.locked(folder) if first else contextlib.nullcontext():
    try:
      for side in (parts.source, parts.test):
        verify.checksums(side)
      verify.pixels(parts.source, crop=parts.crop)
      validate = test_sets.make_validate(
          parts.method, parts.test, parts.mesh, **config['validate'])
      return _run(config, folder, parts, validate)
    except errors.UserError:
      if first and is_new and os.listdir(folder) == [workdir.LOCK]:
        atomic_files.delete(folder)
      raise


def _run(config, folder, parts: Setup, validate) -> Result:
  # ---- the state: new, or where the last run stopped
  checkpoints = checkpoint.Checkpoints(folder / workdir.CHECKPOINTS)
  state = (parts.init() if checkpoints.latest_step() is None
           else checkpoints.restore(parts.abstract_state))
  first = int(state.step)
  # ---- the hook that watches, logs and saves
  total = config['total_steps']
  hook = hooks.Recorder(
      config, folder, parts, checkpoints, validate, finished=first)
  if jax.process_index() == 0:
    workdir.write_config(folder, config)
    workdir.write_json(
        folder / workdir.ENVIRONMENT, workdir.describe_environment())
    workdir.write_json(folder / workdir.DATA, {
        'train': _digest(parts.source), 'test': _digest(parts.test)})
  profile = profiling.Profile(
      folder / workdir.TENSORBOARD, config['profile'], finished=first)
  # ---- the loop
  with contextlib.ExitStack() as closing:
    for part in (checkpoints, hook, profile):
      closing.callback(part.close)
    try:
      with parallel.naming_lost_peers(), signals.stopping(
          hook.stop, has_progress=lambda: hook.steps > 0):
        batches = parts.batches(first) if first < total else ()
        state = loop.fit(
            parts.step, state, batches, parts.key, total, hooks=[hook, profile])
        hook.finish()
    except parallel.PeerLost:
      closing.pop_all()    # checkpoints would wait for the process that ended
      raise
  step = int(state.step)
  if step >= total and jax.process_index() == 0:
    summary = folder / 'summary.json'
    if first < total or not summary.exists():
      workdir.write_json(summary, _summary(config, parts, folder))
  return Result(step, step >= total)


def has_data_of(folder: pathlib.Path, config: Mapping[str, Any]) -> bool:
  """Whether a run has the pictures of a config, wherever they are now.

  Args:
    folder: of the run.
    config: like the run's but for the paths of its data.

  Returns:
    True if the paths are the run's, or the pictures there have the same names.

  Raises:
    UserError: the config's data cannot be opened.
  """
  if config['data'] == workdir.read_config(folder)['data']:
    return True
  found = {side: data.open_side(config, side) for side in ('train', 'test')}
  return _differing_data(folder, found) is None


def _differing_data(folder, sources) -> str | None:
  """Returns the side, train or test, with other pictures than the run's."""
  path = folder / workdir.DATA
  stored = workdir.read_json(path) if path.exists() else {}
  return next((side for side, source in sources.items()
               if stored.get(side, _digest(source)) != _digest(source)), None)


def _digest(source) -> dict[str, Any]:
  names = '\n'.join(source.names).encode()
  return {'pictures': len(source.names),
          'names': hashlib.sha256(names).hexdigest()}


def _summary(config, parts, folder) -> dict[str, Any]:
  picture = jax.ShapeDtypeStruct(
      (1, 256, 256, 3 * parts.method.window), jnp.float32)
  seconds = [line['seconds_per_step'] for line in workdir.read_metrics(folder)
             if 'seconds_per_step' in line]
  # A run of one step, which compiles, has no time of a step.
  step_seconds = statistics.median(seconds) if seconds else None
  return {
      'steps': config['total_steps'],
      'parameters': macs.values_read(
          parts.method.restore, parts.abstract_state, picture),
      'macs_256': macs.macs(
          parts.method.restore, parts.abstract_state, picture),
      'step_seconds': step_seconds,
      'train_seconds': step_seconds and step_seconds * config['total_steps'],
      'peak_memory_bytes': peak_memory(),
      'device': jax.devices()[0].device_kind,
      'devices': jax.device_count(),
  }


def peak_memory() -> int:
  """Returns the peak memory in bytes: the accelerator's, or this process's."""
  stats = jax.local_devices()[0].memory_stats() or {}
  return stats.get('peak_bytes_in_use') or process_memory.peak()
