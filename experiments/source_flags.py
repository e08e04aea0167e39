"""What the programs share that read a source: its flags, and a bar."""

import sys

import tqdm
from absl import flags

from experiments import common

flags.DEFINE_string('source', None, 'Kind of set: gopro, folder_pairs, ...')
flags.DEFINE_string('split', None, "'train', 'test' or 'val'.")
flags.DEFINE_string('subset', None, "GoPro's: 'blur' or 'blur_gamma'.")
flags.DEFINE_multi_string('option', [], "Any other of the source's: key=value.")


def options(*, root: str | None) -> dict:
  """Keywords for `data.open_source`; only what was given."""
  values = flags.FLAGS
  found = {'name': values.source, 'root': root, 'split': values.split,
           'subset': values.subset}
  found |= map(common.key_and_value, values.option)
  return {key: value for key, value in found.items() if value is not None}


def bar(source) -> tqdm.tqdm:
  """A progress bar over the pairs of a source, where there is a terminal."""
  return tqdm.tqdm(total=len(source.names), file=sys.stderr, unit='pair',
                   disable=None)
