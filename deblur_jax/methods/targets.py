"""Targets of a restorer's pictures: the sharp picture in their sizes.

  S_k,   k = 1..K: the pyramid of S by which the network shrinks B, too

Pyramids differ by half a pixel, see `ops/pyramid.py`: targets of another one
would teach the smaller scales a shift.
"""

from collections.abc import Callable

import flax.linen as nn

from deblur_jax import errors, models
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array


def build(
    net: nn.Module, pyramid: str | None, *, where: str = 'nets.net'
) -> Callable[[Array], list[Array]]:
  """A function that makes the targets of a network.

  Args:
    net: a restorer.
    pyramid: a row of `pyramids.PYRAMIDS`, the network's own; None takes that.
    where: the network's place in the config, for the message.

  Returns:
    S [n, h, w, 3] -> S_k, finest first, as many as the network has scales. It
    raises a UserError where `pyramid` is not the network's own: training stops
    before its first step, and runs that were trained so still restore.

  Raises:
    UserError: no such pyramid.
  """
  if pyramid is not None:
    errors.look_up(pyramids.PYRAMIDS, pyramid, what='method.pyramid')
  own, levels = models.pyramid(net), models.scales(net)

  def targets(sharp: Array) -> list[Array]:
    if own is None:    # one scale
      return [sharp]
    if pyramid not in (None, own):
      raise errors.UserError(
          f'method.pyramid is {pyramid}, but {where} shrinks pictures by '
          f'{own}: leave method.pyramid out, so that both have one grid.')
    return pyramids.PYRAMIDS[own](sharp, levels=levels)

  return targets
