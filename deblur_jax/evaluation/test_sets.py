"""Evaluates a trained run on its test set: eval.json and a few pictures.

eval.json holds `input` (means of the untouched blurry pictures), `mean` (means
of the restored ones) and `rows` (each picture). If metrics without reference
were chosen, it also holds `sharp`, their means for the sharp pictures. That is
the value to reach: beyond it are ringing and noise. Pictures are restored whole
in one pass, and the name of a metric says its convention. Of several frames of
a video, `input` is the middle one.
"""

import collections
import concurrent.futures
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from deblur_jax import data, errors, methods
from deblur_jax import metrics as metrics_lib
from deblur_jax.config import call
from deblur_jax.data import images, neighbours, sampler
from deblur_jax.inference import restoration
from deblur_jax.metrics import means
from deblur_jax.ops import bit_depth, frames
from deblur_jax.state import Array, Method, TrainState
from deblur_jax.training import checkpoint, loop, parallel, workdir

Fns = Mapping[str, Callable[[Array, Array], Array]]


def run(
    config: Mapping[str, Any], folder: pathlib.Path, *,
    test: Mapping[str, Any] | None = None, name: str = 'eval',
    metrics: Sequence[str] | Mapping[str, Mapping[str, Any]] = (),
    which: str = 'last', batch_size: int | None = None,
    limit: int | None = None, pictures: int = 4, local: int = 0
) -> dict[str, Any]:
  """Evaluates a run and writes its eval.json; all processes call it.

  Args:
    config: the run's config, plain dicts.
    folder: the run's folder.
    test: keywords of another test set than `config['data']['test']`.
    name: of the file, without .json, and of its folder of pictures.
    metrics: further ones, see `metrics.choose`.
    which: 'last' or 'best' checkpoint, or a step.
    batch_size: pictures at once, over the devices of this process.
    limit: at least 1: only the first `limit` pictures are evaluated.
    pictures: how many pictures, evenly spaced, are saved as blur, restored and
      sharp.
    local: window of `restoration.local` in pixels; 0 is the choice of the
      network.

  Returns:
    The content of eval.json.

  Raises:
    UserError: a limit below 1, a metric or test set that does not fit, or no
      such checkpoint.
  """
  if limit is not None and limit < 1:
    raise errors.UserError(f'limit must be at least 1, got {limit}.')
  fns = metrics_lib.STANDARD | metrics_lib.choose(metrics)
  method = restoration.local(
      methods.build(config, from_checkpoint=True), local)
  test = dict(test or config['data']['test'])
  source = call(data.open_source, test, where='data.test')
  check_test_set(source, window=method.window)
  state = load(config, method, folder, which=which)
  mesh = parallel.data_mesh(jax.local_devices())
  step = int(state.step)
  state = parallel.put(jax.tree.map(_local, state), parallel.replicated(mesh))
  count = min(limit or len(source.names), len(source.names))
  indices = range(jax.process_index(), count, jax.process_count())
  picture_folder = folder / f'{name}_pictures'
  if jax.process_index() == 0:
    shutil.rmtree(picture_folder, ignore_errors=True)
    picture_folder.mkdir(exist_ok=True)
  if jax.process_count() > 1:     # none writes before the folder is empty
    multihost_utils.sync_global_devices(f'{name} pictures')
  rows = []
  kept = set(sampler.evenly_spaced(range(count), pictures))
  for index, triple, row in evaluate_source(
      method, state, source, indices, mesh, batch_size=batch_size, fns=fns):
    rows.append({'name': source.names[index], **row})
    if index in kept:
      picture_folder.mkdir(exist_ok=True)
      save_pictures(picture_folder, source.names[index], triple)
  rows = _gather(rows, source.names, count, fns)
  result = summarise(rows) | {
      'step': step, 'which': str(which), 'test': test,
      'pictures': count, 'tile': None, 'ensemble': None,
      'device': jax.devices()[0].device_kind}
  if jax.process_index() == 0:
    workdir.write_json(folder / f'{name}.json', result)
  return result


def load(
    config: Mapping[str, Any], method: Method, folder: pathlib.Path, *,
    which: str = 'last'
) -> TrainState:
  """A run's state, on all devices.

  Args:
    config: the run's config, plain dicts.
    method: built from it.
    folder: the run's folder.
    which: 'last' or 'best' checkpoint, or a step.

  Returns:
    The state, replicated.

  Raises:
    UserError: no such checkpoint, or one of another network.
  """
  checkpoints = checkpoint.Checkpoints(
      folder / workdir.CHECKPOINTS, read_only=True)
  crop = config['data']['loader']['crop']
  expected = loop.abstract_state(method, crop, parallel.data_mesh())
  state = checkpoints.at(
      which, lambda step: checkpoints.restore(expected, step))
  checkpoints.close()
  return state


def evaluate_source(
    method: Method, state: TrainState, source, indices, mesh, *,
    batch_size: int | None = None, fns: Fns = metrics_lib.STANDARD
) -> Iterator[tuple[int, dict[str, np.ndarray], dict[str, Any]]]:
  """Restores pictures of a source and computes their metrics.

  Args:
    method: the run's method.
    state: its state, on `mesh`.
    source: of pairs, see `data.open_source`.
    indices: which of its pictures.
    mesh: devices of this process.
    batch_size: pictures at once, over these devices.
    fns: name -> (restored, sharp) -> [n].

  Yields:
    The index; {'blur', 'restored', 'sharp'}, float32 [h, w, 3] each; and the
    row: each metric, 'seconds', 'input' with each metric of the blurry picture,
    and 'sharp' with the metrics without reference, if any, of the sharp one.

  Raises:
    UserError: a picture without its partner.
  """
  compute = loop.on_mesh(
      lambda image, sharp: {
          name: fn(image[None], sharp[None])[0]
          for name, fn in fns.items()}, mesh)
  without = _no_reference(fns)
  waiting = collections.deque()

  def blurs():
    for index, pair in _read(source, indices):
      waiting.append((index, pair))
      yield pair['blur']

  for restored in restoration.restore_images(
      method, state, blurs(), mesh, batch_size=batch_size):
    index, pair = waiting.popleft()
    pair |= {'blur': frames.middle(pair['blur'])}
    row = jax.tree.map(float, compute(restored.image, pair['sharp']))
    row['seconds'] = restored.seconds
    row['input'] = jax.tree.map(float, compute(pair['blur'], pair['sharp']))
    if without:
      of_sharp = compute(pair['sharp'], pair['sharp'])
      row['sharp'] = {name: float(of_sharp[name]) for name in without}
    yield index, {**pair, 'restored': restored.image}, row


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """The means of all rows.

  Args:
    rows: of `evaluate_source`, with their names.

  Returns:
    {'input': means, 'mean': means, 'rows': rows}, and 'sharp' if the rows have
    it.
  """
  names = [name for name in metrics_lib.METRICS if name in rows[0]['input']]
  result = {
      'input': means.over_rows([row['input'] for row in rows], names),
      'mean': means.over_rows(rows, [*names, 'seconds']),
      'rows': rows}
  if 'sharp' in rows[0]:
    result['sharp'] = means.over_rows([row['sharp'] for row in rows])
  return result


def save_pictures(
    folder: pathlib.Path, name: str, pictures: Mapping[str, np.ndarray]
) -> None:
  """Writes NAME.KEY.png for each image.

  Args:
    folder: where to write.
    name: of the picture; a slash in it becomes an underscore.
    pictures: key -> float32 [h, w, 3] in [0, 1].
  """
  for key, image in pictures.items():
    path = folder / f'{name.replace("/", "_")}.{key}.png'
    images.write(path, bit_depth.to_uint8(image))


def check_test_set(source: data.Source, *, window: int = 1) -> None:
  """Checks that a source can be a test set.

  Args:
    source: the source.
    window: number of video frames that the network takes.

  Raises:
    UserError: it has no pairs, another window, or `max_damaged`.
  """
  if 'max_damaged' in source.options:
    raise errors.UserError(
        'data.test.max_damaged: a result must be of the picture that it names; '
        'repair the test set, or leave damaged pairs out of its folders.')
  for key in ('blur', 'sharp'):
    if source.parts or key not in source.keys:
      raise errors.UserError(
          f'{source.where} has no {key} picture for each name, and evaluation '
          'needs pairs; set config.data.test to a set of pairs.')
  neighbours.check(source, window, where='data.test')


def make_validate(
    method: Method, source: data.Source, mesh, *, pictures: int, crop: int):
  """Makes the validation of a run: centre crops of a few test pictures.

  Args:
    method: the method.
    source: the test set; its pictures are decoded here.
    mesh: the devices.
    pictures: how many, spread evenly over the set.
    crop: the largest side of the crops, pixels.

  Returns:
    state -> ({metric: mean}, draw); draw() is a uint8 sheet, each row blurred,
    restored and sharp.
  """
  blurs, sharps = _centre_crops(source, pictures=pictures, crop=crop)
  put = lambda x: parallel.put(x, parallel.replicated(mesh))
  blurs_there, sharps_there = put(blurs), put(sharps)

  def compute(state, blurs, sharps):
    restored = jnp.clip(method.restore(state, blurs), 0, 1)
    return restored, {name: fn(restored, sharps).mean()
                      for name, fn in metrics_lib.STANDARD.items()}

  compute = loop.on_mesh(compute, mesh)

  def validate(state):
    restored, scores = compute(state, blurs_there, sharps_there)

    def draw():
      rows = [np.concatenate(row, axis=1)
              for row in zip(frames.middle(blurs), np.asarray(restored), sharps,
                             strict=True)]
      return bit_depth.to_uint8(np.concatenate(rows[:8]))

    return {name: float(value) for name, value in scores.items()}, draw

  return validate


def _centre_crops(source, *, pictures: int, crop: int):
  pairs = [_pair(source, index) for index in sampler.evenly_spaced(
      range(len(source.names)), pictures)]
  sizes = [pair['sharp'].shape[:2] for pair in pairs]
  size = tuple(min(crop, *side) for side in zip(*sizes, strict=True))
  return tuple(
      np.stack([bit_depth.to_float(images.crop_centre(pair[key], size=size))
                for pair in pairs]) for key in ('blur', 'sharp'))


def _read(source, indices):
  """Pairs as float32, read one ahead."""
  def read(index):
    return {key: bit_depth.to_float(picture)
            for key, picture in _pair(source, index).items()}

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    ahead = collections.deque()
    for index in indices:
      ahead.append((index, pool.submit(read, index)))
      if len(ahead) > 2:
        index, pair = ahead.popleft()
        yield index, pair.result()
    for index, pair in ahead:
      yield index, pair.result()


def _pair(source, index):
  pair = source.read(index)
  blur = np.concatenate(neighbours.frames(pair), axis=-1)
  return {'blur': blur, 'sharp': pair['sharp']}


def load_on_one_device(
    config: Mapping[str, Any], folder: pathlib.Path, *, which: str = 'last'):
  """Loads a run for one picture at a time.

  Args:
    config: the run's config, plain dicts.
    folder: the run's folder.
    which: 'last' or 'best' checkpoint, or a step.

  Returns:
    (method, state, mesh) on the first device.

  Raises:
    UserError: no such checkpoint, or one of another network.
  """
  method = methods.build(config, from_checkpoint=True)
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  state = jax.tree.map(
      np.asarray, load(config, method, folder, which=which))
  return method, parallel.put(state, parallel.replicated(mesh)), mesh


def estimates(
    method: Method, state: TrainState, config: Mapping[str, Any]
) -> dict[str, Any]:
  """The shapes of what a run predicts of the blur of a picture.

  Args:
    method: the run's method.
    state: its state.
    config: its config, plain dicts.

  Returns:
    What `method.estimate_blur` returns, as shapes; {} if it predicts nothing.
  """
  if not method.estimate_blur:
    return {}
  crop = config['data']['loader']['crop']
  return jax.eval_shape(method.estimate_blur, state, jax.ShapeDtypeStruct(
      (1, crop, crop, 3), np.float32))


def _local(x) -> np.ndarray:
  """The copy that this process has of a replicated array."""
  return np.asarray(x.addressable_data(0))


def _no_reference(fns):
  return [name for name in fns if metrics_lib.is_no_reference(name)]


def _gather(rows, names, count, fns):
  """The rows of all processes, in the order of the set."""
  processes = jax.process_count()
  if processes == 1:
    return rows
  columns = _columns(fns)
  table = np.full((-(-count // processes), len(columns)), np.nan)
  for index, row in enumerate(rows):
    table[index] = _line(row, columns)
  everyone = multihost_utils.process_allgather(table)  # [processes, rows, ...]
  lines = [everyone[index % processes, index // processes].tolist()
           for index in range(count)]
  return [_row(name, line, columns)
          for name, line in zip(names, lines, strict=False)]


def _columns(fns):
  """(group, key) of every number of a row; the group '' is the row itself."""
  groups = {'': [*fns, 'seconds'], 'input': list(fns),
            'sharp': _no_reference(fns)}
  return [(group, key) for group, keys in groups.items() for key in keys]


def _line(row, columns):
  return [(row[group] if group else row)[key] for group, key in columns]


def _row(name, line, columns):
  row = {'name': name}
  for (group, key), value in zip(columns, line, strict=True):
    (row.setdefault(group, {}) if group else row)[key] = value
  return row
