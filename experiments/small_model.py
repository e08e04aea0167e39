r"""Trains the model that comes with the package, from photos to its card.

  python -m experiments.default_model --photos=DIR --frames=DIR_OR_VIDEO,... \
      --gopro=GOPRO_Large --pairs=DIR --about=FILE.json --workdir=runs/default

Makes pairs of the photos (WORKDIR/scene, WORKDIR/kernel) and of the film
(WORKDIR/film_0, ...), decodes all once (WORKDIR/pixels), trains
configs/default_model.py in WORKDIR/run, goes on from there with that config's
:careful in WORKDIR/careful, evaluates what comes out on the pictures held back,
and writes the weights and their card to --out. What was not given is left out.
It may be stopped: the same command goes on. --start leaves the first training
out, and goes on from a model that was shipped.

--about is a JSON file with 'summary' and 'sources', a list of {'name', 'terms'}
of all that was trained on: no model is shipped without. It may have more, such
as 'least_change', see `app.restoring`. That of the shipped
model is experiments/default_model.json.
"""

import pathlib
import shutil
import sys

import tqdm
from absl import flags

from experiments import common

_PHOTOS = flags.DEFINE_string('photos', None, 'Folder of sharp photos.')
_FRAMES = flags.DEFINE_list('frames', [], 'Folders of frames, and videos.')
_GOPRO = flags.DEFINE_string('gopro', None, 'GoPro; its test set is held back.')
_PAIRS = flags.DEFINE_string(
    'pairs', None, 'Pairs side by side; the last tenth is held back.')
_ABOUT = flags.DEFINE_string('about', None, 'See above.', required=True)
_NAME = flags.DEFINE_string('name', 'default', 'Of the model.')
_OUT = flags.DEFINE_string('out', None, 'Folder; by default the package.')
_STEPS = flags.DEFINE_integer(
    'steps', None, "Of each training; by default the config's.", lower_bound=1)
_START = flags.DEFINE_string(
    'start', None, 'NAME.safetensors, beside its card: goes on from there.')
common.define_run_flags()

# What two kinds of blur are made of: kind, pairs of each photo, options.
SCENE = ('dynamic_scene', 3, dict(
    gamma=1.0, shift=16.0, object_shift=16.0, frames=25))
KERNEL = ('any', 2, dict(gamma=1.0))
WINDOW = (5, 13)    # frames of film that are averaged


def main(argv):
  """Returns the exit code."""
  del argv
  from deblur_jax import train, types, workdir, zoo

  about = workdir.read_json(pathlib.Path(_ABOUT.value))
  for key in ('summary', 'sources'):
    types.require(about, key, where=_ABOUT.value)
  folder = common.workdir()
  trained, start = {}, folder / 'run'
  if _START.value:
    start = _kept(pathlib.Path(_START.value), folder)
    card = start.with_suffix('.json')
    trained = dict(types.require(
        workdir.read_json(card), 'trained', where=str(card)))
  sources = _made(folder) | _given()
  if not sources:
    raise types.UserError(
        'Nothing to train on: give --photos, --frames, --gopro or --pairs.')
  pixels = _decoded(sources, folder / 'pixels')
  if not _START.value:
    config = _config(pixels)
    if not train.run(config, start).finished:
      return 143
    trained['configs/default_model.py'] = config['total_steps']
  config = _config(pixels, 'careful')
  config['method']['start'] = {'path': str(start)}
  if not train.run(config, folder / 'careful').finished:
    return 143
  name = 'configs/default_model.py:careful'
  trained[name] = trained.get(name, 0) + config['total_steps']
  path = zoo.write(
      folder / 'careful', _NAME.value, folder=_OUT.value or zoo.SHIPPED,
      about=about | {'scores': _scores(config, folder), 'trained': trained})
  print(f'Written: {path}')
  return 0


def _kept(start, folder):
  """The start in the folder of the run: --out may replace the one given."""
  from deblur_jax import errors

  for path in (start, start.with_suffix('.json')):
    if not path.is_file():
      raise errors.UserError(
          f'No file {path}: --start takes NAME.safetensors beside its card, '
          'NAME.json.')
  kept = errors.make_folder(folder) / 'start.safetensors'
  for suffix in ('.json', '.safetensors'):
    if not kept.with_suffix(suffix).exists():
      shutil.copyfile(start.with_suffix(suffix), kept.with_suffix(suffix))
  return kept


def _made(folder):
  """Makes the pairs; name -> the source."""
  from deblur_jax.data import make_blur

  plans = {}
  if _PHOTOS.value:
    for name, (kind, count, options), seed in (
        ('scene', SCENE, 0), ('kernel', KERNEL, 1)):
      plans[name] = make_blur.from_photos(
          _PHOTOS.value, kind=kind, per_photo=count, seed=seed, options=options)
  for number, frames in enumerate(_FRAMES.value):
    plans[f'film_{number}'] = make_blur.from_frames(
        frames, window=WINDOW, gamma=1.0)
  for name, plan in plans.items():
    _write(name, plan, folder / name)
  return {name: _gopro(folder / name) for name in plans}


def _write(name, plan, folder):
  from deblur_jax.data import pair_folder

  with _bar(name, len(plan.sources)) as bar:
    pair_folder.write(
        plan, folder, on_pair=lambda done: bar.update(done - bar.n))


def _given():
  """The pairs that others made; name -> the source."""
  given = {}
  if _GOPRO.value:
    given['gopro'] = _gopro(_GOPRO.value)
  if _PAIRS.value:
    given['pairs'] = _pairs(part=(0.0, 0.9))
  return given


def _gopro(root):
  return dict(name='gopro', root=str(root), subset='blur', split='train')


def _pairs(part):
  return dict(name='side_by_side', root=_PAIRS.value, sharp_side='left',
              part=part)


def _decoded(sources, folder):
  """Each source decoded once: name -> its folder."""
  from deblur_jax import data
  from deblur_jax.data import prepared

  for name, leaf in sources.items():
    source = data.open_source(**leaf)
    with _bar(f'{name}, decoded', len(source.names)) as bar:
      prepared.write(source, folder / name,
                     on_pair=lambda done, bar=bar: bar.update(done - bar.n))
  return {name: folder / name for name in sources}


def _bar(what, total):
  return tqdm.tqdm(
      total=total, desc=what, file=sys.stderr, unit='pair', disable=None)


def _config(roots, arg=None):
  """The config, plain dicts, with the sources that there are."""
  from configs import default_model

  config = default_model.get_config(arg).to_dict()
  known = config['data']['train']['sources']
  config['data']['train']['sources'] = {
      name: known[name.partition('_')[0]] | {'root': str(root)}
      for name, root in roots.items()}
  if _GOPRO.value:
    config['data']['test']['root'] = _GOPRO.value
  else:
    config['data']['test'] = dict(name='builtin', split='test')
  if _STEPS.value:
    config['total_steps'] = _STEPS.value
    config['data']['loader']['progressive'] = ()
  return config


def _scores(config, folder):
  """Of each test set the means, with those of the untouched input."""
  from deblur_jax import evaluate

  run = folder / 'careful'
  tests = {'test': config['data']['test'],
           'builtin': dict(name='builtin', split='test'),
           'sharp, JPEG 90': _sharp(folder / 'sharp')}
  if _PAIRS.value:
    tests['pairs'] = _pairs(part=(0.9, 1.0))
  scores = {}
  for name, test in tests.items():
    result = evaluate.run(
        config, run, test=test, name=f'eval_{name.partition(",")[0]}')
    scores[name] = {side: result[side] for side in ('input', 'mean')}
    scores[name]['pictures'] = len(result['rows'])
  return scores


def _sharp(folder):
  """What is sharp already, as cameras store it: a source of pairs."""
  from PIL import Image

  from deblur_jax import data

  source = data.open_source(name='builtin', split='test')
  for side in ('blur', 'sharp'):
    (folder / side).mkdir(parents=True, exist_ok=True)
  for number in range(len(source.names)):
    picture = Image.fromarray(source.read(number)['sharp'])
    picture.save(folder / 'blur' / f'{number}.jpg', quality=90)
    picture.save(folder / 'sharp' / f'{number}.png')
  return dict(name='folder_pairs', blur=str(folder / 'blur'),
              sharp=str(folder / 'sharp'))


if __name__ == '__main__':
  common.run(main)
