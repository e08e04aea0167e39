"""What a data set is to the rest of the code: names, and a way to read one."""

import shlex
import types as builtin_types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors


class Source(NamedTuple):
  """Pictures in a fixed order.

  names: one a pair, unique, the same on every machine: 'SEQ/000047'.
  read: i -> {key: uint8 [h, w, 3]} with the keys below, all of one size; a
    file that cannot be read is a UserError that names it.
  where: the set in words, for messages: 'GoPro train (blur) in DIR'.
  keys: ('blur', 'sharp'); ('sharp',) for pictures that are blurred while
    training, ('blur',) for really blurred ones without a truth. Of film there
    may be the frames around the blurred one too, see `neighbours`.
  sizes: i -> {key: (height, width)} from the files' headers; None where only
    reading can tell.
  options: what `open_source` was called with, for messages and records.
  subset: 'blur' or 'blur_gamma', where the set is declared as one of GoPro's.
  parts: of a set without pairs, {key: its source}: `read` then has one key of
    them only, which may also be 'to_blur', a sharp picture to be blurred while
    training.
  """

  names: list[str]
  read: Callable[[int], dict[str, np.ndarray]]
  where: str
  keys: tuple[str, ...] = ('blur', 'sharp')
  sizes: Callable[[int], dict[str, tuple[int, int]]] | None = None
  options: Mapping[str, Any] = builtin_types.MappingProxyType({})
  subset: str | None = None
  parts: Mapping[str, 'Source'] = builtin_types.MappingProxyType({})


class Problem(NamedTuple):
  """Something wrong with one picture or pair, or (name '') with the set."""

  kind: str    # 'missing', 'size', 'corrupt', 'small', 'swapped', ...
  name: str
  detail: str

  def __str__(self):
    return f'{self.name}: {self.detail}' if self.name else self.detail


class BadPairs(errors.UserError):
  """Some pairs are incomplete or wrong: `problems`; the rest is `source`."""

  def __init__(
      self, problems: Sequence[Problem], source: Source, *,
      crop: int | None = None):
    first = '; '.join(map(str, problems[:3]))
    more = ', ...' if len(problems) > 3 else ''
    count = f'{len(problems)} problem{"s" if len(problems) > 1 else ""}'
    super().__init__(
        f'{source.where}: {count}: {first}{more}. '
        f'See them all: {verify_command(source.options, crop=crop)}')
    self.problems = list(problems)
    self.source = source


def verify_command(
    options: Mapping[str, Any], *, crop: int | None = None) -> str:
  """The command that lists all that is wrong with a source."""
  words = ['python', '-m', 'experiments.verify_data']
  if not options:
    words.append('--data=DIR')
  flags = {'name': '--source=', 'root': '--data=', 'split': '--split=',
           'subset': '--subset='}
  for key, value in options.items():
    words.append(f'{flags.get(key, f"--option={key}=")}{value}')
  if crop is not None:
    words.append(f'--crop={crop}')
  return ' '.join(map(shlex.quote, words))
