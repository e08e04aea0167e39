r"""Decodes a data set once, so that training reads it faster.

  python -m experiments.prepare_data --source=gopro --root=GOPRO_Large \
      --split=train --subset=blur --out=DIR
  python -m experiments.prepare_data --check --out=DIR
  python -m experiments.prepare_data --tfds --root=GOPRO_Large --subset=blur \
      --out=DATA_DIR

The first writes a uint8 memory map (5.5 MB for a 720p pair); train on it with
data.train = dict(name='prepared', root=DIR). It may be stopped at any time: the
same command resumes. --check reads the files again and compares checksums.
--tfds makes the TFDS data set gopro_large/SUBSET instead, with the PNG files as
they are; the source 'tfds' reads it.
"""

from absl import flags

from deblur_jax import data, errors
from deblur_jax.data import prepared
from experiments import common, source_flags

flags.DEFINE_string('root', None, 'Folder of the data set.')
flags.DEFINE_string('out', None, 'Folder to write.', required=True)
flags.DEFINE_integer(
    'workers', None, 'Decoding threads; by default one a core.', lower_bound=1)
flags.DEFINE_bool('check', False, 'Compare --out with its checksums, and stop.')
flags.DEFINE_bool('tfds', False, 'Prepare gopro_large for TFDS.')


def main(argv):
  """Returns 0, or 1 where --check finds damage."""
  del argv
  values = flags.FLAGS
  if values.check:
    return _check(values.out)
  options = source_flags.options(root=values.root)
  if values.tfds:
    return _tfds(options)
  if 'name' not in options:
    raise errors.UserError(
        f'--source is missing; known: {", ".join(sorted(data.SOURCES))}.')
  source = data.open_source(**options)
  with source_flags.bar(source) as bar:
    prepared.write(source, values.out, workers=values.workers,
                   on_pair=lambda done: bar.update(done - bar.n))
  print(f'{len(source.names)} pairs of {source.where} are in {values.out}')
  return 0


def _check(out):
  damaged = prepared.check(out, workers=flags.FLAGS.workers)
  for name in damaged:
    print(f'{name}: its bytes have changed since they were written')
  print(f'{len(damaged)} damaged pairs in {out}')
  return int(bool(damaged))


def _tfds(options):
  if not {'root', 'subset'} <= set(options):
    raise errors.UserError('--tfds needs --root and --subset.')
  # Importing it registers the builder and imports TFDS.
  from deblur_jax.data import gopro_tfds
  folder = gopro_tfds.prepare(
      options['root'], flags.FLAGS.out, subset=options['subset'])
  print(f'gopro_large/{options["subset"]} is in {folder}')
  return 0


if __name__ == '__main__':
  common.run(main)
