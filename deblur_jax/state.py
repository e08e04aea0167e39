"""The types that everything is made of: batches, states, methods.

Images are float32 [n, h, w, c] in [0, 1] at every border between modules.
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
  """All that a run remembers, arrays only: a checkpoint is just this.

  `params`, `opt_state` and `ema` have an entry for each network, by its name.
  """

  step: Array                  # finished steps, int32 []
  params: dict[str, Params]    # what the method learns
  opt_state: dict[str, Any]    # optax states
  # averaged parameters, which restore
  ema: dict[str, Params] = _dict()
  # teachers, VGG19, masks of pruning: saved, never updated
  frozen: dict[str, Params] = _dict()
  # image buffers, ranges of values, records of a fit
  buffers: dict[str, Any] = _dict()

  def weights(self, name: str) -> Params:
    """The parameters of a network that restore: the averaged ones, if any."""
    return self.ema.get(name, self.params[name])


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
  estimate_blur: (state, blur) -> what it predicts of the blur: 'kernel', a
    `kernel_estimator.Estimate`; 'blur_type', logits [n, types]. None where it
    predicts nothing.
  identity: a name of what `restore` computes, without the arrays of the state:
    its networks and options. Compiled programs are kept on disk under it, for
    this version of the package; '' keeps none.
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
      raise errors.UserError(
          f'{what} is of another network: its {name} is '
          f'{theirs.get(name, "missing")}, the config wants '
          f'{ours.get(name, "none")}.')
