r"""Measures the bundled models and writes the results into their cards.

  python -m experiments.release.write_cards [--models=maxim-2,small] \
      [--only='GoPro test, 2 frames'] [--dtype=float32]

--tests is a JSON file of test sets: {'sets': {name: set}}. A set is the keyword
arguments of `data.open_source`, with five more options:

  border  pixels at the borders that a second score leaves out
  jpeg    quality of a JPEG that the blurred picture is stored as first
  self    whether the sharp picture is the input: what does a model change?
  with    use only pictures with this in the name
  not     models that were trained on this set

$DEBLUR_DATA stands for the folder of pictures.

Each card gets PSNR and SSIM of the input and of the result on every set, and
the seconds for a 1280x720 picture on this machine, warm. Unchanged pictures are
counted, and are not part of the mean PSNR. A result is what `tiling.build`
returns, without the check of `--blur-threshold`. Models that are the stages of
one network are measured together: the deepest computes the results of all of
them, for pictures that fit into one tile. --rows=FOLDER keeps the scores of
each picture, and a repeated command continues there. --weights=FILE first
stores the authors' weights in float16, for all cards that name this file.
`make docs` shows the cards and their table.
"""

import io
import json
import os
import pathlib
import platform
import sys
import time

import numpy as np
import tqdm
from absl import flags

from experiments import common
from experiments.release import card_scores

_TESTS = flags.DEFINE_string(
    'tests', 'experiments/release/card_tests.json', 'JSON file of test sets.')
_MODELS = flags.DEFINE_list('models', None, 'Models; by default all bundled.')
_ONLY = flags.DEFINE_multi_string(
    'only', None, 'A test set; may be repeated. By default all.')
_DTYPE = flags.DEFINE_string('dtype', 'auto', 'Number format of the network.')
_ROWS = flags.DEFINE_string(
    'rows', None, 'Folder that keeps the scores of each picture, to resume.')
_WEIGHTS = flags.DEFINE_string(
    'weights', None, 'MAXIM-3S as .safetensors or .npz, to bundle.')
_TIME = flags.DEFINE_bool('time', True, 'Also time a 1280x720 picture.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print, and write no card.')

BUNDLED = 'maxim3s_gopro.safetensors'
PHOTO = (720, 1280)


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.app import large_pages
  from deblur_jax.ops import precision
  from deblur_jax.training import workdir

  large_pages.restart()    # as `deblur` does
  if _DTYPE.value != 'float32':
    precision.ask_for_onednn()
  from deblur_jax.pretrained import zoo

  if _WEIGHTS.value:
    _bundle(_WEIGHTS.value)
  sets = workdir.read_json(pathlib.Path(_TESTS.value))['sets']
  for group in _groups(_MODELS.value or zoo.names()):
    of_group = {title: leaf for title, leaf in sets.items()
                if _ONLY.value is None or title in _ONLY.value}
    for name, found in _measured(group, of_group).items():
      path = zoo.SHIPPED / f'{name}.json'
      card = workdir.read_json(path)
      scores = card.get('scores', {}) | found.pop('scores')
      if not _DRY_RUN.value:
        workdir.write_json(path, card | found | {'scores': scores})


def _groups(names):
  """Lists of models that are the stages of one network, deepest last."""
  from deblur_jax.pretrained import zoo

  groups = {}
  for name in names:
    card = zoo.card(name)
    net = {key: value for key, value in card['net'].items() if key != 'stages'}
    groups.setdefault(json.dumps([card['weights'], net]), []).append(name)
  return [sorted(group, key=lambda name: zoo.card(name)['net']['stages'])
          if len(group) > 1 else group for group in groups.values()]


def _bundle(path):
  """Stores weights for all cards that name them."""
  from deblur_jax.models import maxim_files
  from deblur_jax.ops import weight_files
  from deblur_jax.pretrained import zoo
  from deblur_jax.training import workdir

  bundled = zoo.SHIPPED / BUNDLED
  zoo.write_weights(bundled, maxim_files.read(path).params, dtype='float16')
  digest = weight_files.sha256(bundled)
  for name in zoo.names():
    if zoo.card(name)['weights'] == BUNDLED:
      card = zoo.SHIPPED / f'{name}.json'
      workdir.write_json(card, workdir.read_json(card) | {'sha256': digest})
  print(f'{bundled}: {bundled.stat().st_size:,} bytes, SHA-256 {digest}')


def _measured(names, sets):
  """The measured part of each card of a group."""
  restorers = {name: _tiled(name) for name in names}
  restore = _together(restorers) if len(names) > 1 else lambda blur: {
      name: fn(blur) for name, fn in restorers.items()}
  found = {name: {'scores': {}} for name in names}
  for title, leaf in sets.items():
    tested = [name for name in names if name not in leaf.get('not', ())]
    if not tested:
      continue
    for (name, subtitle), score in _score(
        restore, tested, title, **leaf).items():
      found[name]['scores'][subtitle] = score
      print(f'{name}, {subtitle}: {_line(score)}', flush=True)
  for name in names if _TIME.value else ():
    card = found[name]
    card['seconds_720p'] = _timed(restorers[name])
    card['timed_on'] = f'{os.cpu_count()} cores of {_cpu()}, {_DTYPE.value}'
    print(f'{name}: {card["seconds_720p"]} s at 1280x720, '
          f'{card["timed_on"]}', flush=True)
  return found


def _tiled(name):
  """The function that restores a picture by a model, as `deblur` does."""
  from deblur_jax.inference import tiling
  from deblur_jax.pretrained import zoo

  model = zoo.load(name, dtype=_DTYPE.value)
  restore = tiling.build(model.method, model.state, model.mesh,
                         exact=model.exact, **model.tiling)
  return lambda blur: restore(blur).image


def _together(restorers):
  """The function of a picture to its results by the stages of one network."""
  import jax

  from deblur_jax import models
  from deblur_jax.inference import tiling
  from deblur_jax.pretrained import zoo

  *_, deepest = restorers
  model = zoo.load(deepest, dtype=_DTYPE.value)
  net = models.build(**model.card['net'] | {'dtype': model.dtype})
  params = model.state.params[zoo.ROLE]
  stages = {name: zoo.card(name)['net']['stages'] for name in restorers}

  @jax.jit
  def run(params, blur):
    return [images[0][0] for images in net.apply(
        {'params': params}, blur[None], method='all_stages')]

  def restore(blur):
    if (blur.shape[0] * blur.shape[1] > model.tiling['longest']**2
        or any(side % net.multiple for side in blur.shape[:2])):
      return {name: fn(blur) for name, fn in restorers.items()}
    images = [np.asarray(image) for image in run(params, blur)]
    trust = model.tiling['trust']
    return {name: np.clip(images[s - 1], 0, 1)
            if tiling.agrees(images[s - 1], blur, trust=trust)
            else restorers[name](blur) for name, s in stages.items()}

  return restore


def _score(restore, names, title, *, border=0, jpeg=None, **options):
  """(Model, title) -> the summary of a test set, also without its borders."""
  from deblur_jax import data, metrics
  from deblur_jax.ops import bit_depth

  measure = metrics.choose(card_scores.METRICS)
  cuts = {title: 0} | ({f'{title}, {border} px off': border} if border else {})
  source = {key: value for key, value in options.items()
            if key not in ('self', 'with', 'not')}
  opened = data.open_source(**{
      key: os.path.expandvars(value) if isinstance(value, str) else value
      for key, value in source.items()})
  numbers = [number for number, name in enumerate(opened.names)
             if options.get('with', '') in name]
  rows = _Rows(f'{", ".join(names)}; {title}')
  for number in tqdm.tqdm(numbers, desc=title, file=sys.stderr, disable=None):
    if opened.names[number] in rows.finished:
      continue
    pair = opened.read(number)
    blur = pair['sharp' if options.get('self') else 'blur']
    blur, sharp = (bit_depth.to_float(picture) for picture in (
        _stored(blur, jpeg) if jpeg else blur, pair['sharp']))
    images = {'input': blur} | restore(blur)
    scores = {}
    for subtitle, cut in cuts.items():
      inside = (slice(cut or None, -cut or None),) * 2
      scores[subtitle] = {of: {
          key: float(fn(image[inside][None], sharp[inside][None])[0])
          for key, fn in measure.items()} for of, image in images.items()}
    rows.add(opened.names[number], scores)
  tested = [rows.finished[opened.names[number]] for number in numbers]
  return {(name, subtitle): card_scores.summary(
      [{'input': row[subtitle]['input'], 'result': row[subtitle][name]}
       for row in tested]) for subtitle in cuts for name in names}


class _Rows:
  """The scores of a test set's pictures, in a file if `--rows` is given."""

  def __init__(self, of):
    self.finished, self._path = {}, None
    if not _ROWS.value:
      return
    from deblur_jax import errors

    folder = errors.make_folder(_ROWS.value)
    self._path = folder / f'{of}, {_DTYPE.value}.jsonl'
    if self._path.exists():
      lines = map(json.loads, self._path.read_text(
          encoding='utf-8').splitlines())
      self.finished = {line['picture']: line['scores'] for line in lines}

  def add(self, picture, scores):
    self.finished[picture] = scores
    if self._path:
      with open(self._path, 'a', encoding='utf-8') as file:
        file.write(json.dumps({'picture': picture, 'scores': scores}) + '\n')


def _stored(picture, quality):
  """The picture after storing it as JPEG."""
  from PIL import Image

  file = io.BytesIO()
  Image.fromarray(picture).save(file, 'JPEG', quality=quality)
  return np.asarray(Image.open(file))


def _line(score):
  words = [f'{score["pictures"]} pictures']
  for metric in card_scores.METRICS:
    words.append(f'{metric} {score["input"][metric]} -> '
                 f'{score["mean"][metric]}')
  return ', '.join([*words, f'least {score["least"]}, '
                    f'least gain {score["least_gain"]}'])


def _timed(restore, repeats=3):
  """Median seconds of a 1280x720 picture, warm."""
  photo = np.random.default_rng(0).random((*PHOTO, 3), np.float32)
  restore(photo)
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    restore(photo)
    times.append(time.perf_counter() - start)
  return round(sorted(times)[repeats // 2], 2)


def _cpu():
  try:
    with open('/proc/cpuinfo') as file:
      return next(line.partition(': ')[2].strip() for line in file
                  if line.startswith('model name'))
  except (OSError, StopIteration):
    return platform.processor()


if __name__ == '__main__':
  common.run(main)
