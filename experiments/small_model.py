r"""Trains the bundled model `small`, from photos to its card.

  python -m experiments.small_model --photos=DIR --frames=DIR_OR_VIDEO,... \
      --gopro=GOPRO_Large --pairs=DIR --blurred=DIR,... --teacher=maxim-2 \
      --about=FILE.json --workdir=runs/small

Makes pairs of the photos (WORKDIR/scene, WORKDIR/kernel) and of the film
(WORKDIR/film_0, ...). Restores the blurred pictures, which have no sharp
original, by --teacher (WORKDIR/taught_0, ...): its results are their targets.
Decodes all once (WORKDIR/pixels), trains the parts of configs/small.py in turn
(WORKDIR/groups, /regain, /widths, /narrow, /run), each from what the one
before has learned, the first from `maxim-half`. Evaluates the last on the
pictures held back, and writes its weights and their card to --out. What was not
given is left out. A stopped program resumes with the same command.

--truth_only trains the same student from truth alone, without the pictures that
the teacher restored, in WORKDIR/truth_only, and ships nothing: the comparison.

--about is a JSON file with 'summary', 'licence' and 'sources', a list of
{'name', 'terms'} of all that it was trained on: no model is shipped without. It
may have more, such as 'blur_threshold', see `app.restoring`. That of the
bundled model is experiments/small_model.json.
"""

from absl import flags

from experiments import common, training_pictures

_PHOTOS = flags.DEFINE_string('photos', None, 'Folder of sharp photos.')
_FRAMES = flags.DEFINE_list('frames', [], 'Folders of frames, and videos.')
_GOPRO = flags.DEFINE_string('gopro', None, 'GoPro; its test set is held back.')
_PAIRS = flags.DEFINE_string(
    'pairs', None, 'Pairs side by side; the last tenth is held back.')
_ABOUT = flags.DEFINE_string('about', None, 'See above.', required=True)
_BLURRED = flags.DEFINE_list(
    'blurred', [], 'Folders of blurred pictures without a sharp original.')
_TEACHER = flags.DEFINE_string(
    'teacher', 'maxim-2', 'Restores them: a bundled model or a run.')
_TRUTH_ONLY = flags.DEFINE_bool('truth_only', False, 'See above.')
_NAME = flags.DEFINE_string('name', 'small', 'Of the model.')
_OUT = flags.DEFINE_string('out', None, 'Folder; by default the package.')
_STEPS = flags.DEFINE_integer(
    'steps', None, "Of each part; by default the config's.", lower_bound=1)
common.define_run_flags()

# What two kinds of blur are made of: kind, pairs of each photo, options.
SCENE = ('dynamic_scene', 3, dict(
    gamma=1.0, shift=16.0, object_shift=16.0, frames=25))
KERNEL = ('any', 2, dict(gamma=1.0))
WINDOW = (5, 13)    # frames of film that are averaged
BEGINS_WITH = 'maxim-half'
# The parts of the config, and where each is trained.
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

  about = training_pictures.about(_ABOUT.value)
  folder = common.workdir()
  sources = _made(folder) | _given()
  if not _TRUTH_ONLY.value:
    sources |= training_pictures.taught(
        _BLURRED.value, _TEACHER.value, folder)
  if not sources:
    raise errors.UserError(
        'Nothing to train on: give --photos, --frames, --gopro, --pairs or '
        '--blurred.')
  roots = training_pictures.decoded(sources, folder / 'pixels')
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
  """Writes weights to begin with: those of a model or run, as far as needed."""
  from deblur_jax import models
  from deblur_jax.methods import pretrained
  from deblur_jax.models import maxim_student
  from deblur_jax.ops import arrays

  teacher = pretrained.Start(before)
  arrays.save_tree(path, {'net': maxim_student.begin(
      models.build(**config['nets']['net']),
      models.build(**pretrained.network(teacher)),
      pretrained.any_weights(teacher))})


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
  return training_pictures.pairs(plans, folder)


def _given():
  """The pairs that others made; name -> the source."""
  given = {}
  if _GOPRO.value:
    given['gopro'] = training_pictures.gopro(_GOPRO.value)
  if _PAIRS.value:
    given['pairs'] = _pairs(part=(0.0, 0.9))
  return given


def _pairs(part):
  return dict(name='side_by_side', root=_PAIRS.value, sharp_side='left',
              part=part)


def _config(part, roots):
  """The config of a part, plain dicts, with the sources that there are."""
  from configs import small

  by_truth = (part, 'truth') if part else ('truth',)
  config = small.get_config(
      '_'.join(by_truth) if _TRUTH_ONLY.value else part).to_dict()
  training_pictures.use(config, roots)
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
  """Of each test set the means, with those of the untouched input."""
  from deblur_jax.evaluation import test_sets

  tests = {'test': config['data']['test']}
  if _PAIRS.value:
    tests['pairs'] = _pairs(part=(0.9, 1.0))
  scores = {}
  for name, test in tests.items():
    result = test_sets.run(config, run, test=test, name=f'eval_{name}')
    scores[name] = {side: result[side] for side in ('input', 'mean')}
    scores[name]['pictures'] = len(result['rows'])
  return scores


if __name__ == '__main__':
  common.run(main)
