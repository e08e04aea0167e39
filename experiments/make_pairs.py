r"""Makes pairs of blurred and sharp pictures, in GoPro's layout.

  python -m experiments.make_pairs --photos=DIR --kind=dynamic_scene \
      --option=shift=20 --per_photo=2 --out=OUT
  python -m experiments.make_pairs --frames=DIR_OR_VIDEO --window=7 \
      --gamma=2.2 --out=OUT
  python -m experiments.make_pairs --frames=DIR --window=7,13 \
      --response=crf.npy --straight_above=250 --out=OUT --split=test

The first blurs photos by a blur of `deblur_jax.blur.BLURS`. The others average
frames of film, as GoPro was made: windows do not overlap, and the sharp picture
is the middle frame. A folder holds one sequence, or one folder for each
sequence. No frames are interpolated.

The program may be stopped at any time: the same command resumes and makes the
same files. OUT/manifest.json lists the sources of each pair. Check the result
by experiments.verify_data --root=OUT. Train on it with data.train =
dict(name='gopro', root=OUT, subset=...): blur_gamma where light was averaged,
blur for --gamma=1.

For more than one machine: --runner=beam --beam_options="--runner=FlinkRunner
..." does the same as an Apache Beam pipeline.
"""

import shlex
import sys

import tqdm
from absl import flags

from deblur_jax import errors
from deblur_jax.data import make_blur, pair_writer
from experiments import common

flags.DEFINE_string('photos', None, 'Folder of sharp photos.')
flags.DEFINE_string('kind', None, 'A blur of deblur_jax.blur.BLURS.')
flags.DEFINE_multi_string(
    'option', [], 'An option of that blur, KEY=VALUE; may be repeated.')
flags.DEFINE_integer('per_photo', None, 'Pairs made of each photo (1).',
                     lower_bound=1)
flags.DEFINE_string('frames', None, 'Folder of frames, or a video.')
flags.DEFINE_list('window', None, 'Averaged frames, odd: 7, or 7,13 (7).')
flags.DEFINE_float('gamma', None, 'Gamma of the camera (2.2); 1: linear.')
flags.DEFINE_string(
    'response', None, "A measured response curve, as REDS' crf.npy (BGR).")
flags.DEFINE_integer(
    'straight_above', None, 'The curve is a line above this value; REDS: 250.',
    lower_bound=0)
flags.DEFINE_string('out', None, 'Folder to write.', required=True)
flags.DEFINE_string('split', 'train', "'train' or 'test'.")
flags.DEFINE_integer(
    'seed', 0, 'Seed of all random numbers.', lower_bound=0, upper_bound=2**31)
flags.DEFINE_integer(
    'workers', None, 'Threads; by default one a core.', lower_bound=1)
flags.DEFINE_enum('runner', 'local', ['local', 'beam'], 'Where it runs.')
flags.DEFINE_string('beam_options', '', "Options of Beam: '--runner=...'.")

PHOTOS = ('kind', 'option', 'per_photo')
FRAMES = ('window', 'gamma', 'response', 'straight_above')


def main(argv):
  """Runs the program."""
  del argv
  values = flags.FLAGS
  plan = _plan(values)
  place = dict(out=values.out, split=values.split)
  if values.runner == 'beam':
    pair_writer.write_with_beam(
        plan, **place, options=shlex.split(values.beam_options))
    made = 'by Beam'
  else:
    with tqdm.tqdm(total=len(plan.sources), file=sys.stderr, unit='pair',
                   disable=None) as bar:
      count = pair_writer.write(
          plan, **place, workers=values.workers,
          on_pair=lambda done: bar.update(done - bar.n))
    made = f'{count} of them new'
  print(f'{len(plan.sources)} pairs ({made}) are in {values.out}: '
        f'--source=gopro --split={values.split} --subset={plan.subset}')


def _plan(values):
  if (values.photos is None) == (values.frames is None):
    raise errors.UserError('Give either --photos or --frames.')
  ours, others, given = (
      (PHOTOS, FRAMES, '--photos') if values.photos else
      (FRAMES, PHOTOS, '--frames'))
  for name in others:
    if values[name].value not in (None, []):
      raise errors.UserError(f'--{name} does not work with {given}.')
  options = {name: values[name].value for name in ours
             if values[name].value is not None}
  if values.photos:
    return _from_photos(values, **options)
  return _from_frames(values, **options)


def _from_photos(values, *, option, kind=None, **rest):
  if kind is None:
    raise errors.UserError('--kind is missing: which blur the photos get.')
  return make_blur.from_photos(
      values.photos, kind=kind, seed=values.seed, **rest,
      options=dict(map(errors.key_and_value, option)))


def _from_frames(values, *, window=None, **rest):
  if 'response' in rest and 'gamma' in rest:
    raise errors.UserError('Give either --gamma or --response.')
  if 'straight_above' in rest and 'response' not in rest:
    raise errors.UserError('--straight_above needs --response.')
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
