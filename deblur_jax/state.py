"""The common types: batches, states and methods.

Images are float32 [n, h, w, c] in [0, 1] in all arguments and results of
modules.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import jax

from deblur_jax import errors

Array = jax.Array
Batch = dict[str, Any]      # 'blur', 'sharp', ... -> arrays
Metrics = dict[str, Array]  # scalars of one step
Params = Any                # the parameters of one network


_dict = functools.partial(flax.struct.field, default_factory=dict)


@flax.struct.dataclass
class TrainState:
  """The state of a run, arrays only: the content of a checkpoint.

  `params`, `opt_state` and `ema` have an entry for each network, by its name.
  """

  step: Array                  # finished steps, int32 []
  params: dict[str, Params]    # what the method learns
  opt_state: dict[str, Any]    # optax states
  # averaged parameters, used to restore
  ema: dict[str, Params] = _dict()
  # teachers, VGG19, masks of pruning: saved, never updated
  frozen: dict[str, Params] = _dict()
  # image buffers, ranges of values, records of a fit
  buffers: dict[str, Any] = _dict()

  def weights(self, name: str) -> Params:
    """Returns a network's parameters for restoring: the averages, if any."""
    return self.ema.get(name, self.params[name])


class Method(NamedTuple):
  """A method of deblurring, as pure functions.

  Attributes:
    init: (key, batch) -> TrainState; it reads only the shapes of the batch.
    step: (state, batch, key) -> (state, metrics) for the global batch.
    restore: (state, blur) -> sharp, [n, h, w, 3 * window] -> [n, h, w, 3].
    per_image: whether the method is fitted to each image.
    watches: functions of the logged metrics of steps, the newest last. Each
      returns a warning about the training in one line, or None.
    window: number of frames of a video in 'blur' of a batch, in the order of
      time along the last axis; 'sharp' is the middle frame.
    splits: option of the config -> number of parts into which it splits a
      batch.
    unpaired: whether the blurry and the sharp pictures of a batch show
      different scenes.
    estimate_blur: (state, blur) -> predictions: 'kernel', a
      `kernel_estimator.Estimate`; 'blur_type', logits [n, types]. None if the
      method predicts no blur.
    identity: identifies the function `restore` without the arrays of the state:
      its networks and options. It is part of the key of compiled programs on
      disk; with '' no programs are kept.
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
  estimate_blur: Callable[[TrainState, Array], dict[str, Any]] | None = None
  identity: str = ''


def check_same_shapes(tree: Any, expected: Any, *, what: str) -> None:
  """Checks that the parameters of a file have the shapes of a network.

  Args:
    tree: dicts of arrays.
    expected: dicts of arrays of the config's network.
    what: the description of the file, for the start of the message.

  Raises:
    UserError: a parameter is missing, is unknown or has another shape.
  """
  theirs, ours = (
      {jax.tree_util.keystr(path, simple=True, separator='.'): leaf.shape
       for path, leaf in jax.tree_util.tree_leaves_with_path(one)}
      for one in (tree, expected))
  for name in sorted(ours.keys() | theirs.keys()):
    if ours.get(name) != theirs.get(name):
      raise errors.UserError(
          f'{what} is of another network: its {name} is '
          f'{theirs.get(name, "missing")}, but the config needs '
          f'{ours.get(name, "none")}.')
