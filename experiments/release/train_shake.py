r"""Trains a model for hand-held shake, `maxim-shake`, from photos to its card.

  python -m experiments.release.train_shake --photos=DIR --gopro=GOPRO_Large \
      --blurred=DIR,... --teacher=maxim-2 \
      --about=experiments/release/shake.json --workdir=runs/shake

1. Blurs the photos by three kinds of camera shake in linear light
   (WORKDIR/trajectory, /camera_shake, /long).
2. Restores the blurred pictures that have no sharp original by --teacher
   (WORKDIR/teacher_0, ...): its results are their targets.
3. Decodes all pairs once (WORKDIR/pixels).
4. Trains configs/maxim_shake.py from the weights of `maxim-1` (WORKDIR/run).
5. Writes a mean of weights, because the network loses on one blur what it gains
   on another: --share of the trained ones, the rest from `maxim-1` (Wortsman et
   al., Robust fine-tuning of zero-shot models, CVPR 2022).

The same command resumes after a stop. --about is a JSON file, see
`experiments.release.train_small`. `experiments.release.write_cards` and
`experiments.evaluate_shake` measure the model.
"""

from absl import flags

from experiments import common
from experiments.release import training_sets

_PHOTOS = flags.DEFINE_string(
    'photos', None, 'Folder of sharp photos.', required=True)
_GOPRO = flags.DEFINE_string('gopro', None, 'Folder of GoPro.', required=True)
_BLURRED = flags.DEFINE_list(
    'blurred', [], 'Folders of blurred pictures without sharp originals.')
_TEACHER = flags.DEFINE_string(
    'teacher', 'maxim-2', 'Bundled model or run that restores them.')
_ABOUT = flags.DEFINE_string(
    'about', None, 'JSON file about the model.', required=True)
_SHARE = flags.DEFINE_float(
    'share', 0.4, 'Share of the trained weights.', lower_bound=0, upper_bound=1)
_NAME = flags.DEFINE_string('name', 'maxim-shake', 'Name of the model.')
_OUT = flags.DEFINE_string(
    'out', None, 'Folder to write; by default in the package.')
_STEPS = flags.DEFINE_integer(
    'steps', None, "Steps; by default the config's.", lower_bound=1)
common.define_workdir()

# Name -> (kind, options) of the blur.
SHAKES = {
    'trajectory': ('trajectory', dict(gamma=2.2, size=41)),
    'camera_shake': ('camera_shake', dict(gamma=2.2, rotation=0.04, roll=0.03)),
    'long': ('trajectory', dict(gamma=2.2, size=63, fractions=(0.5, 1.0)))}
SEED = 3
BEGINS_WITH = 'maxim-1'


def main(argv):
  """Returns the exit code."""
  del argv
  from deblur_jax.ops import precision

  precision.ask_for_onednn()
  from deblur_jax.data import make_blur
  from deblur_jax.pretrained import zoo
  from deblur_jax.training import train

  about = training_sets.about(_ABOUT.value)
  folder = common.workdir()
  sources = training_sets.pairs({
      name: make_blur.from_photos(
          _PHOTOS.value, kind=kind, seed=SEED, options=options)
      for name, (kind, options) in SHAKES.items()}, folder, subset='blur_gamma')
  sources['gopro'] = training_sets.gopro(_GOPRO.value)
  sources |= training_sets.restored_by_teacher(
      _BLURRED.value, _TEACHER.value, folder)
  config = _config(
      training_sets.decoded(sources, folder / 'pixels'))
  run = folder / 'run'
  if not train.run(config, run).finished:
    return 143
  path = zoo.write(
      run, _NAME.value, folder=_OUT.value or zoo.SHIPPED, dtype='float16',
      mean_with=(BEGINS_WITH, 1 - _SHARE.value),
      about=about | {'trained': {
          BEGINS_WITH: None, 'configs/maxim_shake.py': config['total_steps'],
          f'mean with {BEGINS_WITH}, share {_SHARE.value:g}': None}})
  print(f'Written: {path}')
  return 0


def _config(roots):
  """The config, plain dicts, with the sources that exist."""
  from configs import maxim_shake

  config = maxim_shake.get_config().to_dict()
  training_sets.use(config, roots)
  config['data']['test']['root'] = _GOPRO.value
  if _STEPS.value:
    config['total_steps'] = _STEPS.value
  return config


if __name__ == '__main__':
  common.run(main)
