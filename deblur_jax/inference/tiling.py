"""Restores pictures of any size by overlapping tiles, and checks the results.

All tiles of a picture have one shape. In the overlap of two tiles the outer
quarter of each is ignored, because there the tile lacks context; over the
middle half their weights change linearly. The result equals that of the whole
picture if a quarter of the overlap is at least the radius of the network's
receptive field. All tiles begin at multiples of ALIGNMENT, because the result
of a network with strides depends on the position.

The shape of the tiles depends only on the size of the picture, so a result does
not depend on earlier pictures. A program is compiled for each shape. Sides are
rounded up to one of eight values in each octave, so that many sizes need few
programs. If memory runs out, the tiles are halved. A result must have nearly
the same means as its picture over windows of MEAN_WINDOW x MEAN_WINDOW pixels,
because blur keeps them. Trained networks can return mosaics or black for
unusual inputs (see the issues of NAFNet).
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from deblur_jax import errors
from deblur_jax.inference import program_cache
from deblur_jax.ops import frames
from deblur_jax.state import Array, Method, TrainState
from deblur_jax.training import loop, parallel

LONGEST = 1024        # default side of a tile, pixels
ALIGNMENT = 32        # sides, overlaps and positions of tiles are multiples
MIN_TILE = 64         # least side of a tile, pixels
MEAN_WINDOW = 32      # side of the windows whose means are compared, pixels
MAX_MEAN_SHIFT = 0.1  # greatest difference of these means
TILES_PER_DEVICE = 4  # at once on an accelerator
# Memory of a photo's pixel: float32 before and after, and the decoded file.
PHOTO_BYTES = 28

Shape = tuple[int, int]


class Large(NamedTuple):
  """A restored picture and the statistics of its tiles.

  Attributes:
    image: float32 [h, w, 3] in [0, 1].
    tiles: number of tiles.
    recomputed: number of tiles that were computed again in float32.
    rejected: number of tiles whose result was rejected; they keep the input.
    tile: (height, width) of a tile.
  """

  image: np.ndarray
  tiles: int
  recomputed: int
  rejected: int
  tile: Shape


class Grid(NamedTuple):
  """Positions of tiles: (height, width), first rows and first columns.

  Attributes:
    tile: (height, width) of a tile.
    tops: first rows.
    lefts: first columns.
  """

  tile: Shape
  tops: list[int]
  lefts: list[int]


def build(
    method: Method, state: TrainState, mesh: Mesh, *, tile: int | None = None,
    longest: int = LONGEST, tile_bytes: int = 0,
    multiple: int = ALIGNMENT, overlap: int = 64,
    ensemble: bool = False, trust: float = MAX_MEAN_SHIFT,
    exact: Method | None = None, at_once: int | None = None
) -> Callable[..., Large]:
  """Builds the function that restores a picture by tiles.

  Args:
    method: a method with a trained network.
    state: its trained state, on `mesh`.
    mesh: devices of this process.
    tile: longest side of a tile in pixels; None is `longest`, 0 is one tile for
      the whole picture.
    longest: side of a square tile that suits the network, in pixels. Other
      tiles have at most as many pixels, and sides of at most twice this.
    tile_bytes: memory of the network for each pixel of a tile, in bytes. A
      photo that needs much memory itself gets smaller tiles; 0 ignores this.
    multiple: the sides of tiles are multiples of it; ALIGNMENT or more. A
      network pads other sizes, which costs time.
    overlap: of neighbouring tiles, in pixels, rounded up to such a multiple.
      Four times the radius of the receptive field makes tiles exact.
    ensemble: whether to average over the eight rotations and reflections
      (self-ensemble: Timofte et al., CVPR 2016), in eight times the time.
    trust: greatest difference of the means over windows of MEAN_WINDOW pixels.
    exact: the method in float32, for tiles whose result in lower precision is
      rejected.
    at_once: number of tiles of a picture for each device at once; by default 1
      on CPUs, where more are not faster, and TILES_PER_DEVICE on others.

  Returns:
    A function (picture, on_tile=...) -> Large. The picture is float32 [h, w, 3]
    in [0, 1]. A method of several frames takes [h, w, 3 * window], or a picture
    that is repeated for all frames. on_tile is called with (finished tiles, all
    tiles). The function raises a UserError for other shapes, and if the memory
    is too small for the least tile.

  Raises:
    UserError: the method fits each image, or tile or overlap is invalid.
  """
  if method.per_image:
    raise errors.UserError(
        'This method fits each image: it has no network for tiles.')
  if overlap < 0:
    raise errors.UserError(f'overlap must be at least 0, got {overlap}.')
  sides = _Sides(multiple, _multiple_of(multiple, overlap))
  if tile and tile < sides.least:
    raise errors.UserError(
        f'tile must be 0, or at least {sides.least} with an overlap of '
        f'{sides.overlap}, got {tile}.')
  run, redo = (
      one and _runner(one, state, mesh) for one in (method, exact))
  at_once = at_once or (
      1 if parallel.platform(mesh) == 'cpu' else TILES_PER_DEVICE)
  pipeline = _Pipeline(
      run, redo, sides.overlap, ensemble, trust, mesh.size, at_once)
  limit = longest if tile is None else multiple * (tile // multiple)
  too_large: set[Shape] = set()    # for the memory

  def restore(image: np.ndarray, on_tile=lambda done, total: None) -> Large:
    image = _checked(image, method.window)
    longest = limit if tile is not None else sides.longest_for(
        image.shape[:2], limit, tile_bytes)
    while True:
      shape = sides.of_tiles(
          image.shape[:2], longest, stretch=1 if tile else 2)
      if shape not in too_large:
        try:
          return _restore(pipeline, image, shape, on_tile)
        except jax.errors.JaxRuntimeError as error:
          if not errors.is_out_of_memory(error):
            raise
          too_large.add(shape)
      longest = sides.halved(shape, longest)

  return restore


def _checked(image, window):
  """The network's input: the frames, or the picture repeated for all."""
  if image.ndim != 3 or image.shape[-1] % 3 or not image.size:
    raise errors.UserError(
        f'Expected a picture [h, w, 3], got {list(image.shape)}.')
  return frames.still(image, window=window)


def _runner(method, state, mesh):
  """A function of tiles [n, h, w, 3 * window] to results, NumPy arrays."""
  split = parallel.split_batch(mesh)
  if not method.identity:
    fn = loop.on_mesh(method.restore, mesh)
    return lambda tiles: np.asarray(fn(state, parallel.put(tiles, split)))
  leaves, tree = jax.tree.flatten(state)
  fn = loop.on_mesh(lambda tiles, *leaves: method.restore(
      jax.tree.unflatten(tree, leaves), tiles), mesh)
  programs = {}    # by the shape of the tiles

  def run(tiles: np.ndarray) -> np.ndarray:
    args = (parallel.put(tiles, split), *leaves)
    if tiles.shape not in programs:
      programs[tiles.shape] = program_cache.compiled(
          fn, args, identity=f'{method.identity} {tree}', mesh=mesh)
    return np.asarray(programs[tiles.shape](*args))

  return run


# ---- shapes of tiles


class _Sides(NamedTuple):
  """The allowed sides of tiles; see `build` for both fields."""

  multiple: int
  overlap: int

  @property
  def least(self) -> int:
    return self._rounded(max(MIN_TILE, 2 * self.overlap))

  def of_tiles(self, size: Shape, longest: int, *, stretch: int = 1) -> Shape:
    """The shape of tiles with the smallest total number of pixels.

    Args:
      size: of the picture.
      longest: a tile has at most longest x longest pixels; 0 is one tile.
      stretch: a side is at most stretch * longest.
    """
    if not longest:
      return tuple(map(self._rounded, size))
    longest = max(longest, self.least)
    shapes = [shape for shape in itertools.product(*(
        self._sides(side, stretch * longest) for side in size))
              if math.prod(shape) <= longest**2]
    tiles = lambda shape: math.prod(
        _count(side, t, self.overlap) for side, t in zip(
            size, shape, strict=True))
    return min(shapes, key=lambda shape: (
        tiles(shape) * math.prod(shape), tiles(shape), shape))

  def longest_for(self, size: Shape, longest: int, tile_bytes: int) -> int:
    """`longest` of tiles that leave memory for a photo of this size."""
    if not tile_bytes:
      return longest
    photo = PHOTO_BYTES * math.prod(size) / tile_bytes    # in pixels of tiles
    # Smaller tiles would need more than twice the time.
    least = max(self.least, longest // 2)
    return math.isqrt(max(least**2, int(longest**2 - photo)))

  def halved(self, shape: Shape, longest: int) -> int:
    """`longest` of the next tiles to try after memory ran out for `shape`."""
    side = min(max(shape), longest or max(shape)) // 2
    side = side // self.multiple * self.multiple
    if side < self.least:
      raise errors.UserError(
          f'The memory does not hold a tile of {shape[0]}x{shape[1]}: close '
          'other programs, or use a smaller model, or an overlap below '
          f'{self.overlap}.')
    return side

  def _sides(self, side, most):
    """The possible sides of a tile along an axis."""
    whole = self._rounded(side)
    if whole <= self.least:
      return {whole}
    most = min(whole, most)
    known = {self._rounded(t)
             for t in range(self.least, most + 1, self.multiple)}
    return {t for t in known | {whole} if t <= most}

  def _rounded(self, side):
    """Rounds up to an eighth of the power of two below, for few shapes."""
    octave = 1 << max(side - 1, 1).bit_length() - 1
    return _multiple_of(max(self.multiple, octave // 8), side)


def _multiple_of(multiple: int, side: int) -> int:
  """The least multiple that is not below `side`."""
  return multiple * math.ceil(side / multiple)


def _count(side: int, tile: int, overlap: int) -> int:
  """The number of tiles along a side."""
  return max(1, math.ceil((side - overlap) / max(tile - overlap, 1)))


def grid(size: Shape, tile: Shape, overlap: int) -> Grid:
  """Computes the positions of tiles over a picture.

  The last tiles end at the picture's border, so their overlap may be larger.

  Args:
    size: (height, width) of the picture, at least the tile's.
    tile: (height, width) of a tile.
    overlap: of neighbours, in pixels.

  Returns:
    The grid.
  """
  def firsts(side, t):
    return [min(i * (t - overlap), side - t)
            for i in range(_count(side, t, overlap))]

  return Grid(tile, *(firsts(side, t)
                      for side, t in zip(size, tile, strict=True)))


# ---- restoration of tiles


class _Pipeline(NamedTuple):
  """The functions and options that restore tiles."""

  run: Callable[[np.ndarray], np.ndarray]
  redo: Callable[[np.ndarray], np.ndarray] | None   # in float32
  overlap: int
  ensemble: bool
  trust: float
  devices: int
  at_once: int   # tiles for each device


def _restore(pipeline: _Pipeline, image: np.ndarray, shape: Shape,
             on_tile: Callable) -> Large:
  size, overlap = image.shape[:2], pipeline.overlap
  sides = [max(t, _multiple_of(ALIGNMENT, side))    # with mirrored borders
           for t, side in zip(shape, size, strict=True)]
  places = grid(sides, shape, overlap)
  rows, columns = (_weights(firsts, t, side, overlap) for firsts, t, side
                   in zip(places[1:], shape, sides, strict=True))
  corners = list(itertools.product(places.tops, places.lefts))
  total = np.zeros((*size, 3), np.float32)
  recomputed = rejected = 0
  devices, trust = pipeline.devices, pipeline.trust
  # Few tiles do not fill a large batch.
  batch = devices * (pipeline.at_once if len(corners) > devices else 1)
  for first in range(0, len(corners), batch):
    part = corners[first:first + batch]
    tiles = np.stack([_cut(image, corner, shape) for corner in part])
    results = _run_tiles(
        pipeline.run, tiles, batch, ensemble=pipeline.ensemble)
    for (top, left), tile, result in zip(part, tiles, results, strict=True):
      blur = frames.middle(tile)
      if not agrees(result, blur, trust=trust) and pipeline.redo:
        recomputed += 1
        result = _run_tiles(pipeline.redo, tile[None], devices,
                            ensemble=pipeline.ensemble)[0]
      if not agrees(result, blur, trust=trust):
        rejected += 1
        result = blur
      inside = total[top:top + shape[0], left:left + shape[1]]
      weight = rows[top][:, None, None] * columns[left][:, None]
      inside += (weight * np.clip(result, 0, 1))[
          :inside.shape[0], :inside.shape[1]]
    on_tile(first + len(part), len(corners))
  return Large(total, len(corners), recomputed, rejected, shape)


def _cut(image, corner, shape):
  """A tile; beyond the picture's right and lower border it is a reflection."""
  (top, left), (height, width) = corner, shape
  tile = image[top:top + height, left:left + width]
  missing = [(0, height - tile.shape[0]), (0, width - tile.shape[1]), (0, 0)]
  return np.pad(tile, missing, mode='symmetric')


def _run_tiles(run, tiles, batch, *, ensemble):
  """The results of tiles, or their means over rotations and reflections."""
  # The first tile fills the last batch.
  filled = np.concatenate([tiles] + [tiles[:1]] * (batch - len(tiles)))
  if not ensemble:
    return run(filled)[:len(tiles)]
  total = 0.0
  for turns, mirrored in itertools.product(range(4), (False, True)):
    turned = np.rot90(filled, turns, (1, 2))
    turned = turned[:, :, ::-1] if mirrored else turned
    result = run(np.ascontiguousarray(turned))
    result = result[:, :, ::-1] if mirrored else result
    total = total + np.rot90(result, -turns, (1, 2)) / 8
  return total[:len(tiles)]


def agrees(
    result: Array, image: Array, *, trust: float = MAX_MEAN_SHIFT) -> bool:
  """Returns whether the local means of two pictures agree.

  Args:
    result: [h, w, 3]; clipped to [0, 1].
    image: [h, w, 3] in [0, 1].
    trust: greatest difference of the means over windows of about
      MEAN_WINDOW x MEAN_WINDOW pixels.

  Returns:
    False also for results that are not finite.
  """
  if not np.isfinite(result).all():
    return False
  difference = np.clip(result, 0, 1) - image
  sums, areas = difference, 1
  for axis, side in enumerate(image.shape[:2]):
    edges = np.linspace(0, side, max(1, side // MEAN_WINDOW) + 1).astype(int)
    sums = np.add.reduceat(sums, edges[:-1], axis=axis)
    areas = np.multiply.outer(areas, np.diff(edges))
  return bool(np.abs(sums / areas[..., None]).max() <= trust)


def _weights(firsts, tile, side, overlap) -> dict[int, np.ndarray]:
  """The weights of the tiles' pixels along an axis, float32 [tile].

  The weights of all tiles sum to one in each pixel.

  Args:
    firsts: the first pixel of each tile.
    tile: side of a tile, in pixels.
    side: of the picture, in pixels.
    overlap: of neighbours, in pixels.
  """
  ramps, total = {}, np.zeros(side)
  for first in firsts:
    ramp = np.ones(tile)
    if overlap:
      # From 0 to 1 over the middle half of the overlap; above 0 everywhere.
      rise = np.clip(2 * (np.arange(tile) + 0.5) / overlap - 0.5, 1e-6, 1)
      ramp *= 1 if first == 0 else rise
      ramp *= 1 if first + tile == side else rise[::-1]
    ramps[first] = ramp
    total[first:first + tile] += ramp
  return {first: (ramp / total[first:first + tile]).astype(np.float32)
          for first, ramp in ramps.items()}
