r"""Makes pairs of blurred and sharp pictures, in GoPro's layout.

  python -m experiments.make_blur --photos=DIR --kind=dynamic_scene \
      --option=shift=20 --per_photo=2 --out=OUT
  python -m experiments.make_blur --frames=DIR_OR_VIDEO --window=7 --gamma=2.2 \
      --out=OUT
  python -m experiments.make_blur --frames=DIR --window=7,13 \
      --response=crf.npy --straight_above=250 --out=OUT --split=test

The first blurs photos with a blur of `deblur_jax.blur.BLURS`. The others
average filmed frames, as GoPro was made: disjoint windows, sharp is the middle
frame. A folder holds one sequence, or a folder a sequence. Frames are taken as
filmed: none are interpolated between them.

It may be killed at any time: the same command goes on and ends with the same
files. OUT/manifest.json tells what each pair is made of. Check with
experiments.verify_data --data=OUT; train with data.train = dict(name='gopro',
root=OUT, subset=...), blur_gamma where light was averaged, blur for --gamma=1.

For more than one machine: --runner=beam --beam_options="--runner=FlinkRunner
..." does the same as an Apache Beam pipeline.
"""

import shlex
import sys

import tqdm
from absl import flags

from deblur_jax import errors
from deblur_jax.data import make_blur, pair_folder
from experiments import common

flags.DEFINE_string('photos', None, 'Folder of sharp photos.')
flags.DEFINE_string('kind', None, 'A blur of deblur_jax.blur.BLURS.')
flags.DEFINE_multi_string('option', [], 'Of that blur: key=value.')
flags.DEFINE_integer('per_photo', None, 'Pairs of each photo (1).')
flags.DEFINE_string('frames', None, 'Folder of frames, or a video.')
flags.DEFINE_list('window', None, 'Frames averaged, odd: 7, or 7,13 (7).')
flags.DEFINE_float('gamma', None, 'Of the camera (2.2); 1: linear.')
flags.DEFINE_string(
    'response', None, "A measured curve instead, like REDS' crf.npy (BGR).")
flags.DEFINE_integer(
    'straight_above', None, 'The curve goes on straight from here; REDS: 250.')
flags.DEFINE_string('out', None, 'Folder to write.', required=True)
flags.DEFINE_string('split', 'train', "'train' or 'test'.")
flags.DEFINE_integer(
    'seed', 0, 'Of all that is random.', lower_bound=0, upper_bound=2**31)
flags.DEFINE_integer(
    'workers', None, 'Threads; a core each.', lower_bound=1)
flags.DEFINE_enum('runner', 'local', ['local', 'beam'], 'What does the work.')
flags.DEFINE_string('beam_options', '', "Beam's: '--runner=...'.")

PHOTOS = ('kind', 'option', 'per_photo')
FRAMES = ('window', 'gamma', 'response', 'straight_above')


def main(argv):
  """Returns 0."""
  del argv
  values = flags.FLAGS
  plan = _plan(values)
  place = dict(out=values.out, split=values.split)
  if values.runner == 'beam':
    pair_folder.write_with_beam(
        plan, **place, options=shlex.split(values.beam_options))
    made = 'by Beam'
  else:
    with tqdm.tqdm(total=len(plan.sources), file=sys.stderr, unit='pair',
                   disable=None) as bar:
      count = pair_folder.write(
          plan, **place, workers=values.workers,
          on_pair=lambda done: bar.update(done - bar.n))
    made = f'{count} of them made now'
  print(f'{len(plan.sources)} pairs ({made}) are in {values.out}: '
        f'--source=gopro --split={values.split} --subset={plan.subset}')
  return 0


def _plan(values):
  if (values.photos is None) == (values.frames is None):
    raise errors.UserError('Give --photos or --frames, one of the two.')
  ours, others, given = (
      (PHOTOS, FRAMES, '--photos') if values.photos else
      (FRAMES, PHOTOS, '--frames'))
  for name in others:
    if values[name].value not in (None, []):
      raise errors.UserError(f'--{name} does not go with {given}.')
  options = {name: values[name].value for name in ours
             if values[name].value is not None}
  if values.photos:
    return _from_photos(values, **options)
  return _from_frames(values, **options)


def _from_photos(values, *, option, kind=None, **rest):
  if kind is None:
    raise errors.UserError('--kind is missing: the blur of the photos.')
  return make_blur.from_photos(
      values.photos, kind=kind, seed=values.seed, **rest,
      options=dict(map(common.key_and_value, option)))


def _from_frames(values, *, window=None, **rest):
  if 'response' in rest and 'gamma' in rest:
    raise errors.UserError('Give --gamma or --response, one of the two.')
  if 'straight_above' in rest and 'response' not in rest:
    raise errors.UserError('--straight_above does not go without --response.')
  if window is not None:
    rest['window'] = _window(window)
  return make_blur.from_frames(values.frames, seed=values.seed, **rest)


def _window(words):
  try:
    first, last = map(int, words * 2 if len(words) == 1 else words)
  except ValueError:
    raise errors.UserError(
        f'--window={",".join(words)}: write --window=7 or --window=7,13.'
    ) from None
  return first, last


if __name__ == '__main__':
  common.run(main)
