"""RealBlur's protocol: PSNR and SSIM after an ECC alignment (Rim et al. 2020).

RealBlur's pairs come from two cameras and do not match to the pixel.

  1. The restored image z, rounded to 8 bits, is scaled by sum x z / sum z^2,
     with x the sharp image.
  2. The homography that maximises the enhanced correlation coefficient
     (Evangelidis and Psarakis 2008) is found by Gauss-Newton steps from the
     identity, on the gray images smoothed with (1 4 6 4 1) / 16:

       max over p of  <x0, z0(p)> / (|x0| |z0(p)|),   x0, z0 without their means

  3. z is warped (bicubic, a = -0.75). Only pixels that both images have count.

This follows RealBlur's script and the documented behaviour of OpenCV's
findTransformECC and warpPerspective, with two differences: coordinates are not
rounded to 1/32 of a pixel, and the steps end when they move no corner by 1e-4
pixels, or after 100.

Where no alignment is found (flat or unrelated images) the value is NaN. Small
or smooth crops, such as 80 pixels, do not determine a homography: the steps do
not converge, here and in OpenCV.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax.metrics import common, psnr, ssim
from deblur_jax.ops import colour, similarity
from deblur_jax.state import Array

STEPS = 100
STILL = 1e-4      # pixels
SIDE = 16


def psnr_ecc(restored: Array, sharp: Array) -> Array:
  """PSNR of the aligned RGB images over the pixels that both have.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 16.
    sharp: the same shape.

  Returns:
    float32 [n], in dB; NaN where no alignment is found.

  Raises:
    UserError: unequal shapes, images that are not RGB or too small.
  """
  return _per_image(restored, sharp, _psnr)


def ssim_ecc(restored: Array, sharp: Array) -> Array:
  """SSIM of the aligned images: windows that fit, mean over three channels.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 16.
    sharp: the same shape.

  Returns:
    float32 [n]; NaN where no alignment is found.

  Raises:
    UserError: unequal shapes, images that are not RGB or too small.
  """
  return _per_image(restored, sharp, _ssim)


def homography(sharp: Array, restored: Array) -> Array:
  """The 3 x 3 matrix that maps pixels (x, y, 1) of `sharp` to `restored`.

  Args:
    sharp: float32 [h, w], gray.
    restored: the same shape.

  Returns:
    float32 [3, 3] whose last value is 1; NaN where no alignment is found.
  """
  frame = _Frame.of(sharp.shape)
  x, z = _smooth(sharp), _smooth(restored)
  stack = jnp.stack([z, *_gradients(z)], axis=-1)

  def step(carry):
    p, _, count = carry
    delta = _step(p, x, stack, frame)
    moved = jnp.abs(frame.corners(p + delta) - frame.corners(p)).max()
    return p + delta, moved, count + 1

  def moving(carry):
    _, moved, count = carry
    return (count < STEPS) & (moved > STILL)

  start = jnp.zeros(8), jnp.asarray(jnp.inf), 0
  p, _, _ = jax.lax.while_loop(moving, step, start)
  return frame.to_pixels(_matrix(p))


class _Frame(NamedTuple):
  """Coordinates around the middle of the image, of the order of 1.

  In pixels the normal equations of a homography are singular in float32.
  """

  height: int
  width: int

  @classmethod
  def of(cls, shape):
    return cls(*shape)

  @property
  def scale(self):
    return max(self.height, self.width) / 2

  @property
  def middle(self):
    return (self.width - 1) / 2, (self.height - 1) / 2

  def grid(self):
    """X and Y, each [h, w]."""
    x, y = jnp.meshgrid(jnp.arange(self.width, dtype=jnp.float32),
                        jnp.arange(self.height, dtype=jnp.float32))
    return ((x - self.middle[0]) / self.scale,
            (y - self.middle[1]) / self.scale)

  def corners(self, p):
    """The corners under the homography, in pixels, [2, 4]."""
    x = jnp.asarray([-1., 1., -1., 1.]) * self.middle[0] / self.scale
    y = jnp.asarray([-1., -1., 1., 1.]) * self.middle[1] / self.scale
    u, v, _ = _project(p, x, y)
    return jnp.stack([u, v]) * self.scale

  def to_pixels(self, matrix):
    """The same homography of pixel coordinates."""
    x, y = self.middle
    inward = jnp.asarray([[1., 0., -x], [0., 1., -y], [0., 0., self.scale]])
    outward = jnp.asarray(
        [[self.scale, 0., x], [0., self.scale, y], [0., 0., 1.]])
    highest = jax.lax.Precision.HIGHEST
    pixels = jnp.matmul(jnp.matmul(outward, matrix, precision=highest),
                        inward, precision=highest)
    return pixels / pixels[2, 2]


def _matrix(p):
  """Eight parameters, columns first, 0 for the identity -> [3, 3]."""
  return (jnp.append(p, 0).reshape(3, 3).T
          + jnp.eye(3, dtype=p.dtype))


def _project(p, x, y):
  """Coordinates under the homography, and the denominator."""
  h = _matrix(p)
  below = h[2, 0] * x + h[2, 1] * y + 1
  return ((h[0, 0] * x + h[0, 1] * y + h[0, 2]) / below,
          (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / below, below)


def _step(p, x, stack, frame):
  """The Gauss-Newton step of the forward additive ECC (their section 4.1)."""
  grid = frame.grid()
  u, v, below = _project(p, *grid)
  columns = u * frame.scale + frame.middle[0]
  rows = v * frame.scale + frame.middle[1]
  inside = _inside(columns, rows, x.shape)
  z, dx, dy = jnp.moveaxis(_bilinear(stack, columns, rows), -1, 0)
  z, x = _centre(z, inside), _centre(x, inside)
  dx, dy = dx * frame.scale / below, dy * frame.scale / below
  across = -(u * dx + v * dy)
  jacobian = [part * g for g in grid for part in (dx, dy, across)] + [dx, dy]
  table = jnp.stack([*jacobian, z, x]).reshape(10, -1)
  # All inner products in one product of matrices.
  gram = jnp.matmul(table, table.T, precision=jax.lax.Precision.HIGHEST)
  hessian, to_z, to_x = gram[:8, :8], gram[:8, 8], gram[:8, 9]
  solved = jnp.linalg.solve(hessian, to_z[:, None])[:, 0]
  above = gram[8, 8] - (to_z * solved).sum()
  beneath = gram[8, 9] - (to_x * solved).sum()
  # Where it is not positive, the step lowers the correlation: no alignment.
  gain = jnp.where(beneath > 0, above / beneath, jnp.nan)
  return jnp.linalg.solve(hessian, (gain * to_x - to_z)[:, None])[:, 0]


def _centre(x, inside):
  mean = jnp.where(inside, x, 0).mean(axis=1).sum() / (
      inside.mean(axis=1).sum())
  return jnp.where(inside, x - mean, 0)


def _inside(columns, rows, shape):
  """Whether the nearest pixel exists."""
  return ((jnp.round(columns) >= 0) & (jnp.round(columns) <= shape[1] - 1)
          & (jnp.round(rows) >= 0) & (jnp.round(rows) <= shape[0] - 1))


def _smooth(x):
  """(1 4 6 4 1) / 16 on both axes, the border mirrored."""
  for axis in (0, 1):
    widths = [(0, 0), (0, 0)]
    widths[axis] = (2, 2)
    padded = jnp.pad(x, widths, mode='reflect')
    x = sum(tap * jax.lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis)
            for i, tap in enumerate((0.0625, 0.25, 0.375, 0.25, 0.0625)))
  return x


def _gradients(x):
  """Central differences along columns and rows, 0 at the border's pixels."""
  padded = jnp.pad(x, 1, mode='reflect')
  return ((padded[1:-1, 2:] - padded[1:-1, :-2]) / 2,
          (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2)


def _bilinear(stack, columns, rows):
  """[h, w, c] at the coordinates [...]; 0 outside."""
  height, width, _ = stack.shape
  left, top = jnp.floor(columns), jnp.floor(rows)
  value = 0
  for row, weight_y in ((top, top + 1 - rows), (top + 1, rows - top)):
    for column, weight_x in ((left, left + 1 - columns),
                             (left + 1, columns - left)):
      exists = ((row >= 0) & (row < height) & (column >= 0)
                & (column < width))
      weight = jnp.where(exists, weight_x * weight_y, 0)
      value += weight[..., None] * _pick(stack, row, column)
  return value


def _bicubic(image, columns, rows):
  """[h, w, c] at the coordinates; the border mirrored, its pixels repeated."""
  left, top = jnp.floor(columns), jnp.floor(rows)
  weights_x, weights_y = _cubic(columns - left), _cubic(rows - top)
  value = 0
  for i, weight_y in enumerate(weights_y):
    for j, weight_x in enumerate(weights_x):
      row = _mirror(top + i - 1, image.shape[0])
      column = _mirror(left + j - 1, image.shape[1])
      value += (weight_x * weight_y)[..., None] * _pick(image, row, column)
  return value


def _cubic(t, a=-0.75):
  """Keys' weights of four neighbours, the second at distance t."""
  near = lambda d: ((a + 2) * d - (a + 3)) * d * d + 1
  far = lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
  return far(t + 1), near(t), near(1 - t), far(2 - t)


def _mirror(index, size):
  folded = jnp.mod(index, 2 * size)
  return jnp.minimum(folded, 2 * size - 1 - folded)


def _pick(stack, row, column):
  height, width, channels = stack.shape
  row = jnp.clip(row, 0, height - 1).astype(jnp.int32)
  column = jnp.clip(column, 0, width - 1).astype(jnp.int32)
  return stack.reshape(-1, channels)[row * width + column]


def _per_image(restored, sharp, metric):
  common.check(restored, sharp)
  common.check_size(restored, side=SIDE, what='ECC')
  pair = (common.round_to_uint8(sharp) / 255,
          common.round_to_uint8(restored) / 255)
  return jax.lax.map(lambda pair: metric(*_align(*pair)), pair)


def _align(x, z):
  """[h, w, 3] each -> both masked, and the mask [h, w, 1]."""
  z = z * (_total(x * z) / _total(z * z))
  matrix = homography(colour.luma(x)[..., 0], colour.luma(z)[..., 0])
  columns, rows = jnp.meshgrid(jnp.arange(x.shape[1], dtype=jnp.float32),
                               jnp.arange(x.shape[0], dtype=jnp.float32))
  u, v, w = (line[0] * columns + line[1] * rows + line[2] for line in matrix)
  u, v = u / w, v / w
  # A failed alignment must give NaN, not an empty mask.
  mask = jnp.where(jnp.isnan(u), u, _inside(u, v, x.shape))[..., None]
  # Without the barrier XLA warps again for every tap of a window over it.
  return jax.lax.optimization_barrier(
      (x * mask, _bicubic(z, u, v) * mask, mask))


def _total(x):
  return x.sum(axis=(1, 2)).sum()


def _psnr(x, z, mask):
  return -10 * jnp.log10(
      _total(jnp.square(x - z)) / (3 * _total(mask)))


def _ssim(x, z, mask):
  luminance, structure = similarity.terms(x[None] * 255, z[None] * 255)
  inner = slice(similarity.RADIUS, -similarity.RADIUS)
  mask = mask[inner, inner]
  channels = (luminance * structure)[0] * mask
  return _total(channels) / (3 * _total(mask))


PSNR = psnr.metric(
    psnr_ecc, "PSNR after an ECC alignment (RealBlur's protocol)", side=SIDE,
    test_size=(128, 160))
SSIM = ssim.metric(
    ssim_ecc, 'SSIM after that alignment', side=SIDE, test_size=(128, 160))
