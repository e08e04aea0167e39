"""The shapes that everything is made of, and how a name in a config is found.

Images are float32 [n, h, w, c] in [0, 1] at every border between modules.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import jax

from deblur_jax import errors

Array = jax.Array
Batch = dict[str, Any]      # 'blur', 'sharp', ... -> arrays
Metrics = dict[str, Array]  # scalars of one step
Params = Any                # the parameters of one network

UserError = errors.UserError
is_disk_full = errors.is_disk_full
make_folder = errors.make_folder
suggest = errors.suggest
look_up = errors.look_up


@flax.struct.dataclass
class TrainState:
  """All that a run remembers, arrays only: a checkpoint is just this."""

  step: Array                     # finished steps
  params: dict[str, Params]       # network name -> parameters
  opt_state: dict[str, Any]       # optimizer name -> optax state
  extra: dict[str, Any]           # ema, pools, statistics, frozen features


class Method(NamedTuple):
  """A way to learn deblurring, as pure functions.

  init: (key, batch) -> TrainState; reads only the shapes of the batch.
  step: (state, batch, key) -> (state, metrics) for the global batch.
  restore: (state, blur) -> sharp, [n, h, w, 3 * window] -> [n, h, w, 3].
  per_image: whether `restore` needs a fit of its own for each image.
  watches: each: logged metrics of steps, the newest last -> what looks wrong
    with the training, in one line, or None.
  window: how many frames of a video 'blur' of batches is, in the order of time
    along the last axis; 'sharp' is that of the middle one.
  splits: option of the config -> into how many parts it splits a batch.
  unpaired: whether the blurry and the sharp pictures of a batch are to be
    different ones, of which it compares no two.
  tell: (state, blur) -> what it tells of how pictures were blurred: 'kernel',
    a `kernel_estimator.Estimate`; 'blur_type', logits [n, types]. None where it
    tells nothing.
  identity: tells what `restore` computes from all else that this version of the
    package computes, the arrays of the state aside: its networks and options.
    Compiled programs are kept on disk by it; '' keeps none.
  """

  init: Callable[[Array, Batch], TrainState]
  step: Callable[[TrainState, Batch, Array], tuple[TrainState, Metrics]]
  restore: Callable[[TrainState, Array], Array]
  per_image: bool = False
  watches: Sequence[
      Callable[[Sequence[Mapping[str, float]]], str | None]] = ()
  window: int = 1
  splits: Mapping[str, int] = {}
  unpaired: bool = False
  tell: Callable[[TrainState, Array], dict[str, Any]] | None = None
  identity: str = ''


def require(table: Mapping[str, Any], name: str, *, where: str) -> Any:
  """table[name], or a UserError that it is missing."""
  if name not in table:
    raise UserError(
        f'{where}.{name} is missing; there is only: {", ".join(table)}.')
  return table[name]


def check_keys(config: Mapping[str, Any], keys: Sequence[str]) -> None:
  """Raises a UserError where a config's top level has other keys than these."""
  for key in config:
    if key not in keys:
      raise UserError(
          f'Unknown config key {key}; known: {", ".join(keys)}.'
          f'{suggest(key, keys)}')
  for key in keys:
    if key not in config:
      raise UserError(f'The config has no {key}.')


def check_same_shapes(tree: Any, expected: Any, *, what: str) -> None:
  """Raises a UserError where the parameters of a file are of another network.

  Args:
    tree: dicts of arrays.
    expected: the same of the network of the config.
    what: what they are, at the head of the error.
  """
  theirs, ours = (
      {jax.tree_util.keystr(path, simple=True, separator='.'): leaf.shape
       for path, leaf in jax.tree_util.tree_leaves_with_path(one)}
      for one in (tree, expected))
  for name in sorted(ours.keys() | theirs.keys()):
    if ours.get(name) != theirs.get(name):
      raise UserError(
          f'{what} is of another network: its {name} is '
          f'{theirs.get(name, "missing")}, the config wants '
          f'{ours.get(name, "none")}.')


def call(
    fn: Callable[..., Any], kwargs: Mapping[str, Any], *, args=(), where: str
) -> Any:
  """fn(*args, **kwargs), where unknown and missing keys are UserErrors.

  Args:
    fn: a function with keyword-only options, or a linen module.
    kwargs: one leaf of a config.
    args: the inputs of fn.
    where: the place of that leaf, as the user writes it: 'nets.net'.
  """
  _check_options(fn, kwargs, where)
  return fn(*args, **kwargs)


def bind(
    fn: Callable[..., Any], kwargs: Mapping[str, Any], *, where: str
) -> Callable[..., Any]:
  """fn with its options set and its inputs still to come, checked as `call`."""
  _check_options(fn, kwargs, where)
  return functools.partial(fn, **kwargs)


def _check_options(fn, kwargs, where):
  options = {
      name: option for name, option in inspect.signature(fn).parameters.items()
      if option.kind is option.KEYWORD_ONLY
      or (isinstance(fn, type) and name not in ('parent', 'name'))}
  for key in kwargs:
    if key not in options:
      raise UserError(
          f'Unknown key {where}.{key}; known: {", ".join(sorted(options))}.'
          f'{suggest(key, options)}')
  for name, option in options.items():
    if option.default is option.empty and name not in kwargs:
      raise UserError(f'{where}.{name} is missing.')
