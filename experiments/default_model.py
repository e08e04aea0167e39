r"""Trains the model that comes with the package, from photos to its card.

  python -m experiments.default_model --photos=DIR --frames=DIR_OR_VIDEO,... \
      --gopro=GOPRO_Large --pairs=DIR --about=FILE.json --workdir=runs/default

Makes pairs of the photos (WORKDIR/scene, WORKDIR/kernel) and of the film
(WORKDIR/film_0, ...), trains configs/default_model.py in WORKDIR/run, evaluates
it on the pictures held back, and writes the weights and their card to --out.
What was not given is left out. It may be stopped: the same command goes on.

--about is a JSON file with 'summary' and 'sources', a list of {'name', 'terms'}
of all that was trained on: no model is shipped without. That of the shipped
model is experiments/default_model.json.
"""

import pathlib
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
_STEPS = flags.DEFINE_integer('steps', None, "By default the config's.")
common.define_run_flags()

# What two kinds of blur are made of: kind, pairs of each photo, options.
SCENE = ('dynamic_scene', 3, dict(
    gamma=1.0, shift=16.0, object_shift=16.0, frames=25))
KERNEL = ('any', 2, dict(gamma=1.0, camera=dict(
    gamma=1.0, read=(0.0, 0.01), quality=(60, 100), bits=8)))
WINDOW = (5, 13)    # frames of film that are averaged


def main(argv):
  """Returns the exit code."""
  del argv
  from deblur_jax import train, types, workdir, zoo

  about = workdir.read_json(pathlib.Path(_ABOUT.value))
  for key in ('summary', 'sources'):
    types.require(about, key, where=_ABOUT.value)
  folder = common.workdir()
  config = _config(_made(folder))
  if not train.run(config, folder / 'run').finished:
    return 143
  scores = _scores(config, folder / 'run')
  path = zoo.write(
      folder / 'run', _NAME.value, folder=_OUT.value or zoo.SHIPPED,
      about=about | {'scores': scores, 'trained': {
          'config': 'configs/default_model.py',
          'steps': config['total_steps']}})
  print(f'Written: {path}')
  return 0


def _made(folder):
  """Makes the pairs; the sources of them all, as configs have them."""
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
  return {name: folder / name for name in plans}


def _write(name, plan, folder):
  from deblur_jax.data import pair_folder

  with tqdm.tqdm(total=len(plan.sources), desc=name, file=sys.stderr,
                 unit='pair', disable=None) as bar:
    pair_folder.write(
        plan, folder, on_pair=lambda done: bar.update(done - bar.n))


def _config(made):
  """The config, plain dicts, with the sources that there are."""
  from configs import default_model
  from deblur_jax import types

  config = default_model.get_config().to_dict()
  known = config['data']['train']['sources']
  sources = {name: known[name.partition('_')[0]] | {'root': str(root)}
             for name, root in made.items()}
  for name, root in (('gopro', _GOPRO.value), ('pairs', _PAIRS.value)):
    if root:
      sources[name] = known[name] | {'root': root}
  if not sources:
    raise types.UserError(
        'Nothing to train on: give --photos, --frames, --gopro or --pairs.')
  config['data']['train']['sources'] = sources
  if _GOPRO.value:
    config['data']['test']['root'] = _GOPRO.value
  else:
    config['data']['test'] = dict(name='builtin', split='test')
  if _STEPS.value:
    config['total_steps'] = _STEPS.value
    config['data']['loader']['progressive'] = ()
  return config


def _scores(config, run):
  """Of each test set the means, with those of the untouched input."""
  from deblur_jax import evaluate

  tests = {'test': config['data']['test'],
           'builtin': dict(name='builtin', split='test')}
  if _PAIRS.value:
    tests['pairs'] = dict(name='side_by_side', root=_PAIRS.value,
                          sharp_side='left', part=(0.9, 1.0))
  scores = {}
  for name, test in tests.items():
    result = evaluate.run(config, run, test=test, name=f'eval_{name}')
    scores[name] = {side: result[side] for side in ('input', 'mean')}
    scores[name]['pictures'] = len(result['rows'])
  return scores


if __name__ == '__main__':
  common.run(main)
