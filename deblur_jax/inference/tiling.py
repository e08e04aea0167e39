"""Pictures of any size through a network: tiles, blended, and looked after.

A large picture is cut into overlapping tiles that all have one shape. Where two
of them meet, the outer quarter of the overlap, where a tile knows nothing of
what lies beyond it, does not count, and over the middle half one fades into the
other. So the result is that of the whole picture wherever a quarter of the
overlap covers the radius of what the network sees. All tiles begin at multiples
of ALIGNMENT, for a network that halves pictures sees other pixels one further
on.

The shape of the tiles follows from the size of the picture alone, so a result
does not depend on the pictures before it. A program is compiled for each shape:
sides are rounded up to one of eight in each octave, so a folder of many sizes
needs few. Memory that runs out halves the tiles. And a result must agree with
its picture in the mean over MEAN_WINDOW x MEAN_WINDOW pixels, which no blur
changes: a network that meets what it does not know may give mosaics or black
instead (that is known of trained ones, see NAFNet's issues).
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

LONGEST = 1024        # side of a tile that nobody chose
ALIGNMENT = 32        # sides, overlaps and places of tiles are multiples of it
MIN_TILE = 64         # side of a tile below which memory is not the reason
MEAN_WINDOW = 32      # pixels, of the means that must agree
MAX_MEAN_SHIFT = 0.1  # by how much they may differ
TILES_PER_DEVICE = 4  # that fill an accelerator
# Memory of a pixel of the photo: float32 before and after, and the file's own.
PHOTO_BYTES = 28

Shape = tuple[int, int]


class Large(NamedTuple):
  """A restored picture, and what happened on the way.

  image: float32 [h, w, 3] in [0, 1].
  tiles: how many there were.
  recomputed: tiles that were computed again in float32.
  rejected: tiles whose result was not trusted; they keep the input.
  tile: their shape, (height, width).
  """

  image: np.ndarray
  tiles: int
  recomputed: int
  rejected: int
  tile: Shape


class Grid(NamedTuple):
  """Tiles over a picture that has at least their size: their first pixels."""

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
  """A function that restores a picture, float32 [h, w, 3] in [0, 1].

  It takes the picture and, if you like, `on_tile`, which it calls with (tiles
  done, all tiles of the picture). For a method of several frames it takes
  these, [h, w, 3 * window], or a picture, which then stands for all of them.

  Args:
    method: one that does not fit each image anew.
    state: its trained state, on `mesh`.
    mesh: devices of this process.
    tile: longest side of a tile; None is `longest`, 0 takes pictures whole.
    longest: side of a square tile that suits the network; others have no more
      pixels, and are twice as long at most.
    tile_bytes: memory that the network takes for each pixel of a tile. A photo
      that takes more memory itself gets smaller tiles; 0 does not look at it.
    multiple: the sides of tiles are multiples of it; ALIGNMENT or more.
      Networks pad to such sizes themselves, and what they pad costs time.
    overlap: of neighbours, in pixels, made such a multiple; twice the width of
      what the network sees makes tiles exact.
    ensemble: the mean over the eight turns and mirror images (self-ensemble:
      Timofte et al., CVPR 2016), for eight times the time.
    trust: greatest difference of the means over windows of MEAN_WINDOW pixels.
    exact: the method in float32, where `method` computes in less: for tiles
      that are not trusted.
    at_once: how many tiles of a picture a device takes together; by default 1
      on CPUs, where more are no quicker, and TILES_PER_DEVICE elsewhere.

  Raises:
    UserError: a method that fits each image, sizes that cannot be.
  """
  if method.per_image:
    raise errors.UserError('This method fits each image anew: it has no tiles.')
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
      1 if jax.default_backend() == 'cpu' else TILES_PER_DEVICE)
  way = _Way(run, redo, sides.overlap, ensemble, trust, mesh.size, at_once)
  limit = longest if tile is None else multiple * (tile // multiple)
  too_large: set[Shape] = set()    # for the memory

  def restore(image: np.ndarray, on_tile=lambda done, total: None) -> Large:
    image = _checked(image, method.window)
    longest = limit if tile is not None else sides.beside(
        image.shape[:2], limit, tile_bytes)
    while True:
      shape = sides.of_tiles(
          image.shape[:2], longest, stretch=1 if tile else 2)
      if shape not in too_large:
        try:
          return _restore(way, image, shape, on_tile)
        except jax.errors.JaxRuntimeError as error:
          if not errors.is_out_of_memory(error):
            raise
          too_large.add(shape)
      longest = sides.halved(shape, longest)

  return restore


def _checked(image, window):
  """The picture, or the frames, that go through the network."""
  if image.ndim != 3 or image.shape[-1] % 3 or not image.size:
    raise errors.UserError(
        f'Expected a picture [h, w, 3], got {list(image.shape)}.')
  return frames.still(image, window=window)


def _runner(method, state, mesh):
  """tiles [n, h, w, 3 * window], split over devices, to results, NumPy."""
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


# ---- which tiles


class _Sides(NamedTuple):
  """Which sides tiles have; see `build` for both fields."""

  multiple: int
  overlap: int

  @property
  def least(self) -> int:
    return self._rounded(max(MIN_TILE, 2 * self.overlap))

  def of_tiles(self, size: Shape, longest: int, *, stretch: int = 1) -> Shape:
    """The shape of tiles that have the fewest pixels over a picture together.

    Args:
      size: of the picture.
      longest: a tile has at most longest x longest pixels; 0 is one tile.
      stretch: how many times longer than that one side may be.
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

  def beside(self, size: Shape, longest: int, tile_bytes: int) -> int:
    """`longest` of tiles that leave memory for a photo of this size."""
    if not tile_bytes:
      return longest
    photo = PHOTO_BYTES * math.prod(size) / tile_bytes    # in pixels of tiles
    # Smaller ones would take more than twice the time.
    least = max(self.least, longest // 2)
    return math.isqrt(max(least**2, int(longest**2 - photo)))

  def halved(self, shape: Shape, longest: int) -> int:
    """`longest` of the next tiles to try, where memory ran out for `shape`."""
    side = min(max(shape), longest or max(shape)) // 2
    side = side // self.multiple * self.multiple
    if side < self.least:
      raise errors.UserError(
          f'The memory does not hold a tile of {shape[0]}x{shape[1]}: close '
          'other programs, or take a smaller model, or a smaller overlap than '
          f'{self.overlap}.')
    return side

  def _sides(self, side, most):
    """Those that a tile may have along an axis."""
    whole = self._rounded(side)
    if whole <= self.least:
      return {whole}
    most = min(whole, most)
    known = {self._rounded(t)
             for t in range(self.least, most + 1, self.multiple)}
    return {t for t in known | {whole} if t <= most}

  def _rounded(self, side):
    """Up to an eighth of the power of two below it, so that shapes are few."""
    octave = 1 << max(side - 1, 1).bit_length() - 1
    return _multiple_of(max(self.multiple, octave // 8), side)


def _multiple_of(multiple: int, side: int) -> int:
  """The least multiple that is not below `side`."""
  return multiple * math.ceil(side / multiple)


def _count(side: int, tile: int, overlap: int) -> int:
  """How many tiles cover a side."""
  return max(1, math.ceil((side - overlap) / max(tile - overlap, 1)))


def grid(size: Shape, tile: Shape, overlap: int) -> Grid:
  """The last tiles end where the picture does, so their overlap is larger."""
  def firsts(side, t):
    return [min(i * (t - overlap), side - t)
            for i in range(_count(side, t, overlap))]

  return Grid(tile, *(firsts(side, t)
                      for side, t in zip(size, tile, strict=True)))


# ---- through the network


class _Way(NamedTuple):
  """How tiles are restored."""

  run: Callable[[np.ndarray], np.ndarray]
  redo: Callable[[np.ndarray], np.ndarray] | None   # in float32
  overlap: int
  ensemble: bool
  trust: float
  devices: int
  at_once: int   # tiles of each device


def _restore(
    way: _Way, image: np.ndarray, shape: Shape, on_tile: Callable) -> Large:
  size = image.shape[:2]
  sides = [max(t, _multiple_of(ALIGNMENT, side))    # with what is mirrored
           for t, side in zip(shape, size, strict=True)]
  places = grid(sides, shape, way.overlap)
  rows, columns = (_shares(firsts, t, side, way.overlap) for firsts, t, side
                   in zip(places[1:], shape, sides, strict=True))
  corners = list(itertools.product(places.tops, places.lefts))
  total = np.zeros((*size, 3), np.float32)
  recomputed = rejected = 0
  # A small picture is not made a large batch.
  batch = way.devices * (way.at_once if len(corners) > way.devices else 1)
  for first in range(0, len(corners), batch):
    part = corners[first:first + batch]
    tiles = np.stack([_cut(image, corner, shape) for corner in part])
    results = _all_ways(way.run, tiles, batch, ensemble=way.ensemble)
    for (top, left), tile, result in zip(part, tiles, results, strict=True):
      blur = frames.middle(tile)
      if not agrees(result, blur, trust=way.trust) and way.redo:
        recomputed += 1
        result = _all_ways(
            way.redo, tile[None], way.devices, ensemble=way.ensemble)[0]
      if not agrees(result, blur, trust=way.trust):
        rejected += 1
        result = blur
      inside = total[top:top + shape[0], left:left + shape[1]]
      share = rows[top][:, None, None] * columns[left][:, None]
      inside += (share * np.clip(result, 0, 1))[
          :inside.shape[0], :inside.shape[1]]
    on_tile(first + len(part), len(corners))
  return Large(total, len(corners), recomputed, rejected, shape)


def _cut(image, corner, shape):
  """A tile; beyond the picture's right and lower border it is mirrored."""
  (top, left), (height, width) = corner, shape
  tile = image[top:top + height, left:left + width]
  missing = [(0, height - tile.shape[0]), (0, width - tile.shape[1]), (0, 0)]
  return np.pad(tile, missing, mode='symmetric')


def _all_ways(run, tiles, batch, *, ensemble):
  """The results of tiles, or their means over the turns and mirror images."""
  # The last batch is filled up with its first tile.
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
  """Whether two pictures [h, w, 3] agree in the means of their windows.

  These have MEAN_WINDOW x MEAN_WINDOW pixels.
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


def _shares(firsts, tile, side, overlap) -> dict[int, np.ndarray]:
  """Of the tiles along an axis, how much their pixels count, float32 [tile].

  The shares of all tiles add up to 1 in each pixel.

  Args:
    firsts: the first pixel of each tile.
    tile, side: pixels of a tile, and of the picture, along the axis.
    overlap: of neighbours.
  """
  ramps, total = {}, np.zeros(side)
  for first in firsts:
    ramp = np.ones(tile)
    if overlap:
      # From 0 to 1 over the middle half of the overlap; never all zero.
      rise = np.clip(2 * (np.arange(tile) + 0.5) / overlap - 0.5, 1e-6, 1)
      ramp *= 1 if first == 0 else rise
      ramp *= 1 if first + tile == side else rise[::-1]
    ramps[first] = ramp
    total[first:first + tile] += ramp
  return {first: (ramp / total[first:first + tile]).astype(np.float32)
          for first, ramp in ramps.items()}
