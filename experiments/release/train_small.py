r"""Trains the bundled model `small`, from photos to its card.

  python -m experiments.release.train_small --photos=DIR --gopro=GOPRO_Large \
      --frames=DIR_OR_VIDEO,... --pairs=DIR --blurred=DIR,... \
      --teacher=maxim-2 --about=experiments/release/small.json \
      --workdir=runs/small

1. Makes pairs of the photos (WORKDIR/scene, WORKDIR/kernel) and of the film
   (WORKDIR/film_0, ...).
2. Restores the blurred pictures that have no sharp original by --teacher
   (WORKDIR/teacher_0, ...): its results are their targets.
3. Decodes all pairs once (WORKDIR/pixels).
4. Trains the parts of configs/small.py one after another (WORKDIR/groups,
   /regain, /widths, /narrow, /run). Each starts from the weights of the part
   before it, the first from `maxim-half`.
5. Evaluates the last part on the held-back pictures, and writes its weights and
   their card to --out.

Data sets that are not given are left out. The same command resumes after a
stop. --truth_only trains the same student without the pictures that the teacher
restored, in WORKDIR/truth_only, for comparison, and writes no model.

--about is a JSON file with 'summary', 'licence' and 'sources', a list of
{'name', 'terms'} of all training pictures: a model needs all three. It may have
more keys of a card, such as 'blur_threshold', see `app.restoring`.
"""

from absl import flags

from experiments import common
from experiments.release import card_scores, training_sets

_PHOTOS = flags.DEFINE_string('photos', None, 'Folder of sharp photos.')
_FRAMES = flags.DEFINE_list('frames', [], 'Folders of frames, and videos.')
_GOPRO = flags.DEFINE_string(
    'gopro', None, 'Folder of GoPro; its test set is held back.')
_PAIRS = flags.DEFINE_string(
    'pairs', None, 'Folder of pairs side by side; the last tenth is held back.')
_ABOUT = flags.DEFINE_string(
    'about', None, 'JSON file about the model.', required=True)
_BLURRED = flags.DEFINE_list(
    'blurred', [], 'Folders of blurred pictures without sharp originals.')
_TEACHER = flags.DEFINE_string(
    'teacher', 'maxim-2', 'Bundled model or run that restores them.')
_TRUTH_ONLY = flags.DEFINE_bool(
    'truth_only', False, 'Train without the teacher.')
_NAME = flags.DEFINE_string('name', 'small', 'Name of the model.')
_OUT = flags.DEFINE_string(
    'out', None, 'Folder to write; by default in the package.')
_STEPS = flags.DEFINE_integer(
    'steps', None, "Steps of each part; by default the config's.",
    lower_bound=1)
common.define_workdir()

# Two kinds of synthetic blur: kind, pairs of each photo, options.
SCENE = ('dynamic_scene', 3, dict(
    gamma=1.0, shift=16.0, object_shift=16.0, frames=25))
KERNEL = ('any', 2, dict(gamma=1.0))
WINDOW = (5, 13)    # averaged frames of film
BEGINS_WITH = 'maxim-half'
# Part of the config -> folder of its run.
PARTS = {'groups': 'groups', 'regain': 'regain', 'widths': 'widths',
         'narrow': 'narrow', '': 'run'}


def main(argv):
  """Returns the exit code."""
  del argv
  from deblur_jax.ops import precision

  precision.ask_for_onednn()
  from deblur_jax import errors
  from deblur_jax.pretrained import zoo
  from deblur_jax.training import train

  about = training_sets.about(_ABOUT.value)
  folder = common.workdir()
  sources = _made(folder) | _given()
  if not _TRUTH_ONLY.value:
    sources |= training_sets.restored_by_teacher(
        _BLURRED.value, _TEACHER.value, folder)
  if not sources:
    raise errors.UserError(
        'Nothing to train on: give --photos, --frames, --gopro, --pairs or '
        '--blurred.')
  roots = training_sets.decoded(sources, folder / 'pixels')
  runs = folder / 'truth_only' if _TRUTH_ONLY.value else folder
  before, trained = BEGINS_WITH, {}
  for part, name in PARTS.items():
    config, run = _config(part, roots), runs / name
    start = errors.make_folder(runs) / f'start_{name}.npz'
    config['method']['init_from'] = {'path': str(start)}
    if not start.exists():
      _begin(config, before, start)
    if not train.run(config, run).finished:
      return 143
    before = str(run)
    trained['configs/small.py' + f':{part}' * bool(part)] = (
        config['total_steps'])
  scores = _scores(config, run)
  if _TRUTH_ONLY.value:
    return 0
  path = zoo.write(
      run, _NAME.value, folder=_OUT.value or zoo.SHIPPED, dtype='float16',
      about=about | {'scores': scores, 'trained': trained})
  print(f'Written: {path}')
  return 0


def _begin(config, before, path):
  """Writes initial weights: those of a model or run that the network has."""
  from deblur_jax import models
  from deblur_jax.methods import pretrained
  from deblur_jax.models import maxim_student
  from deblur_jax.ops import array_files

  teacher = pretrained.Start(before)
  array_files.save_tree(path, {'net': maxim_student.begin(
      models.build(**config['nets']['net']),
      models.build(**pretrained.network(teacher)),
      pretrained.any_weights(teacher))})


def _made(folder):
  """Makes pairs of photos and film; name -> source."""
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
  return training_sets.pairs(plans, folder)


def _given():
  """The data sets of pairs that were given; name -> source."""
  given = {}
  if _GOPRO.value:
    given['gopro'] = training_sets.gopro(_GOPRO.value)
  if _PAIRS.value:
    given['pairs'] = _pairs(part=(0.0, 0.9))
  return given


def _pairs(part):
  return dict(name='side_by_side', root=_PAIRS.value, sharp_side='left',
              part=part)


def _config(part, roots):
  """The config of a part, plain dicts, with the sources that exist."""
  from configs import small

  by_truth = (part, 'truth') if part else ('truth',)
  config = small.get_config(
      '_'.join(by_truth) if _TRUTH_ONLY.value else part).to_dict()
  training_sets.use(config, roots)
  if _GOPRO.value:
    config['data']['test']['root'] = _GOPRO.value
  else:
    config['data']['test'] = dict(name='builtin', split='test')
  if _STEPS.value:
    config['total_steps'] = _STEPS.value
    if 'fade' in config['method']:
      config['method']['fade']['steps'] = _STEPS.value
  return config


def _scores(config, run):
  """Test set -> its scores, in the form of `card_scores.summary`."""
  from deblur_jax.evaluation import test_sets

  tests = {'test': config['data']['test']}
  if _PAIRS.value:
    tests['pairs'] = _pairs(part=(0.9, 1.0))
  scores = {}
  for name, test in tests.items():
    result = test_sets.run(config, run, test=test, name=f'eval_{name}')
    scores[name] = card_scores.summary([
        {'input': row['input'], 'result': row} for row in result['rows']])
  return scores


if __name__ == '__main__':
  common.run(main)
