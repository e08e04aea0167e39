"""Flags of a data source, and a progress bar over its pairs."""

import sys

import tqdm
from absl import flags

from deblur_jax import errors

flags.DEFINE_string(
    'source', None, 'Kind of data set: gopro, folder_pairs, ...')
flags.DEFINE_string('split', None, "'train', 'test' or 'val'.")
flags.DEFINE_string('subset', None, "Of GoPro: 'blur' or 'blur_gamma'.")
flags.DEFINE_multi_string(
    'option', [], 'Another option of the source, KEY=VALUE; may be repeated.')


def options(*, root: str | None) -> dict:
  """Keywords for `data.open_source`, of the flags that were given."""
  values = flags.FLAGS
  found = {'name': values.source, 'root': root, 'split': values.split,
           'subset': values.subset}
  found |= map(errors.key_and_value, values.option)
  return {key: value for key, value in found.items() if value is not None}


def bar(source) -> tqdm.tqdm:
  """A progress bar over the pairs of a source, shown in a terminal."""
  return tqdm.tqdm(total=len(source.names), file=sys.stderr, unit='pair',
                   disable=None)
