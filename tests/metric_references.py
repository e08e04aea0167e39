"""The metrics once more, in float64 and after the papers, for the tests.

Nothing here comes from the package. Pictures are uint8 [h, w, 3].
"""

import itertools
import math

import numpy as np
import skimage
from PIL import Image
from scipy import ndimage, signal, special

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def gray(picture):
  return np.asarray(Image.fromarray(picture).convert('L'), np.float64)


def window(x):
  """11 taps of sigma 1.5, where they fit."""
  return ndimage.gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]


def moments(a, b):
  mean_a, mean_b = window(a), window(b)
  return (mean_a, mean_b, window(a * a) - mean_a ** 2,
          window(b * b) - mean_b ** 2, window(a * b) - mean_a * mean_b)


def ssim_terms(a, b):
  mean_a, mean_b, var_a, var_b, cov = moments(a, b)
  return ((2 * mean_a * mean_b + C1) / (mean_a ** 2 + mean_b ** 2 + C1),
          (2 * cov + C2) / (var_a + var_b + C2))


def ms_ssim(a, b):
  """Of two gray pictures."""
  factors = []
  for _ in range(5):
    luminance, structure = ssim_terms(a, b)
    factors.append(structure.mean())
    a, b = (np.pad(x, [(0, side % 2) for side in x.shape], 'edge')
            for x in (a, b))
    a, b = (x.reshape(x.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))
            for x in (a, b))
  factors[-1] = (luminance * structure).mean()
  return np.prod(np.maximum(factors, 0) ** WEIGHTS)


def ms_ssim_luma(restored, sharp):
  return ms_ssim(gray(restored), gray(sharp))


def ms_ssim_rgb(restored, sharp):
  return np.mean([ms_ssim(restored[..., c] * 1., sharp[..., c] * 1.)
                  for c in range(3)])


def psnr_luma_shaved(restored, sharp):
  weights = np.array([65.481, 128.553, 24.966]) / 255
  a, b = (16 + x[4:-4, 4:-4] @ weights for x in (restored * 1., sharp * 1.))
  return 10 * np.log10(255**2 / np.mean((a - b)**2))


def cw_ssim_pyssim(restored, sharp):
  a, b = [], []
  for width in range(1, 31):
    t = (np.arange(10 * width) - (10 * width - 1) / 2) / width
    ricker = (1 - t * t) * np.exp(-t * t / 2)
    ricker *= 2 / (math.sqrt(3 * width) * math.pi ** 0.25)
    for rows, picture in ((a, restored), (b, sharp)):
      rows.append(signal.convolve(gray(picture).ravel(), ricker, mode='same'))
  a, b = np.array(a), np.array(b)
  first = (2 * abs(a * b).sum(0) + .01) / ((a * a + b * b).sum(0) + .01)
  second = (2 * abs((a * b).sum(0)) + .01) / (2 * abs(a * b).sum(0) + .01)
  return (first * second).mean()


def align_shift(restored, sharp, max_shift=5):
  """The best of all quarter-pixel shifts, one by one; without borders."""
  h, w, _ = sharp.shape
  target = sharp[15:-15, 15:-15].astype(np.float64)
  rows, columns = np.mgrid[15:h - 15, 15:w - 15].astype(np.float64)
  shifts = np.arange(-max_shift, max_shift + .25, .25)
  best = None
  for dy, dx in itertools.product(shifts, shifts):
    moved = np.stack([ndimage.map_coordinates(
        restored[..., c].astype(np.float64), [rows + dy, columns + dx],
        order=1) for c in range(3)], axis=-1)
    error = np.mean((moved - target) ** 2)
    if best is None or error < best[0]:
      best = error, moved
  return *best, target


def psnr_shift(restored, sharp):
  return 10 * np.log10(255 ** 2 / align_shift(restored, sharp)[0])


def ssim_shift(restored, sharp):
  _, moved, target = align_shift(restored, sharp)
  return np.mean([np.mean(np.prod(ssim_terms(moved[..., c], target[..., c]),
                                  axis=0)) for c in range(3)])


def error_ratio(restored, sharp, oracle):
  return align_shift(restored, sharp)[0] / align_shift(oracle, sharp)[0]


def warp(image, matrix, kernel, reach, outside):
  """[h, w] at matrix (x, y, 1), by a kernel of 2 x reach taps."""
  h, w = image.shape
  ys, xs = np.mgrid[:h, :w]
  u, v, s = np.einsum('ij,jhw->ihw', matrix, np.stack([xs, ys, 1 + 0 * xs]))
  u, v = u / s, v / s
  padded = np.pad(image, 40, **outside)
  value = 0
  for i in range(1 - reach, reach + 1):
    for j in range(1 - reach, reach + 1):
      y, x = np.floor(v).astype(int) + i, np.floor(u).astype(int) + j
      value += kernel(abs(v - y)) * kernel(abs(u - x)) * padded[
          np.clip(y + 40, 0, h + 79), np.clip(x + 40, 0, w + 79)]
  inside = ((np.rint(u) >= 0) & (np.rint(u) < w) & (np.rint(v) >= 0)
            & (np.rint(v) < h))
  return value, inside


def cubic(d, a=-0.75):
  return np.where(d <= 1, (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1,
                  a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a)


def ecc_grays(restored, sharp):
  """The smoothed gray pictures that are aligned: sharp, restored."""
  x, z = sharp / 255, restored / 255
  z = z * (x * z).sum() / (z * z).sum()
  taps = np.array([1, 4, 6, 4, 1]) / 16
  luma = np.array([.299, .587, .114])
  return [ndimage.correlate1d(ndimage.correlate1d(
      image @ luma, taps, 0, mode='mirror'), taps, 1, mode='mirror')
          for image in (x, z)]


def correlation(x, z, matrix):
  """The enhanced correlation coefficient under a homography."""
  moved, inside = warp(z, matrix, lambda d: 1 - d, 1, {'mode': 'constant'})
  x, moved = x[inside], moved[inside]
  return np.corrcoef(x, moved)[0, 1]


def after_homography(restored, sharp, matrix):
  """RealBlur's PSNR and SSIM, the homography being known."""
  x, z = sharp / 255, restored / 255
  z = z * (x * z).sum() / (z * z).sum()
  moved = np.empty_like(z)
  for c in range(3):
    moved[..., c], inside = warp(
        z[..., c], matrix, cubic, 2, {'mode': 'symmetric'})
  x, moved = x * inside[..., None], moved * inside[..., None]
  error = ((x - moved) ** 2).sum() / (3 * inside.sum())
  cut = inside[5:-5, 5:-5]
  maps = [np.prod(ssim_terms(x[..., c] * 255, moved[..., c] * 255), axis=0)
          for c in range(3)]
  return 10 * np.log10(1 / error), np.mean(
      [(one * cut).sum() / cut.sum() for one in maps])


def kohler_pairs(restored, frames):
  """(luma of the frame, luma of the result) as the benchmark aligns them."""
  luma = np.array([.299, .587, .114])
  for frame in frames:
    x, z = frame.astype(np.float64), restored.astype(np.float64)
    z = z * (x * z).sum() / (z * z).sum()
    peak = np.fft.ifft2(np.fft.fft2(x.mean(2)) * np.conj(
        np.fft.fft2(z.mean(2)))).real
    shift = [at - side if at >= side // 2 else at for at, side in zip(
        np.unravel_index(peak.argmax(), peak.shape), peak.shape, strict=True)]
    moved, mask = (ndimage.shift(image, (*shift, 0), order=0)
                   for image in (z, np.ones_like(z)))
    yield (x * mask) @ luma, moved @ luma


def psnr_kohler(restored, frames):
  return max(10 * np.log10(255 ** 2 / ((x - z) ** 2).mean())
             for x, z in kohler_pairs(restored, frames))


def ms_ssim_kohler(restored, frames):
  half = [.03782845550726, -.02384946501956, -.11062440441844,
          .37740285561283, .85269867900889]
  taps = np.array(half + half[-2::-1])
  taps /= taps.sum()

  def one(x, z):
    value = 1
    for scale, weight in enumerate(WEIGHTS):
      mx, mz, vx, vz, cov = moments(x, z)
      sx, sz = np.sqrt(np.maximum(vx, 0)), np.sqrt(np.maximum(vz, 0))
      value *= ((2 * sx * sz + C2) / (vx + vz + C2)).mean() ** weight
      value *= ((cov + C2 / 2) / (sx * sz + C2 / 2)).mean() ** weight
      if scale == 4:
        value *= ((2 * mx * mz + C1) / (mx * mx + mz * mz + C1)).mean(
            ) ** weight
      x, z = (ndimage.correlate(image, np.outer(taps, taps), mode='reflect')[
          ::2, ::2] for image in (x, z))
    return value
  return max(one(*pair) for pair in kohler_pairs(restored, frames))


def laplacian_variance(picture):
  return ndimage.laplace(gray(picture), mode='mirror').var()


def blur_effect(picture):
  return skimage.measure.blur_effect(picture, channel_axis=-1)


def _aggd(x):
  """Eqs. 7-9 of the paper by moment matching over a grid of shapes."""
  x = x.ravel()
  shapes = np.arange(.2, 10.0005, .001)
  g = special.gamma
  left, right = (np.sqrt(np.mean(part ** 2)) for part in (x[x < 0], x[x > 0]))
  gamma = left / right
  r = np.mean(np.abs(x)) ** 2 / np.mean(x ** 2)
  r *= (gamma ** 3 + 1) * (gamma + 1) / (gamma ** 2 + 1) ** 2
  alpha = shapes[np.argmin(
      (g(2 / shapes) ** 2 / (g(1 / shapes) * g(3 / shapes)) - r) ** 2)]
  scale = np.sqrt(g(1 / alpha) / g(3 / alpha))
  return alpha, left * scale, right * scale, g(2 / alpha) / g(1 / alpha)


def niqe_features(picture):
  """[blocks, 36] of the blocks of 96 x 96, with their sharpness."""
  x = gray(picture)
  rows, columns = (side // 96 for side in x.shape)
  x = x[:rows * 96, :columns * 96]
  taps = np.exp(-np.arange(-3, 4) ** 2 / (2 * (7 / 6) ** 2))
  taps = np.outer(taps, taps) / taps.sum() ** 2
  features, sharpness = [[] for _ in range(rows * columns)], []
  for side in (96, 48):
    mean = ndimage.correlate(x, taps, mode='nearest')
    deviation = np.sqrt(np.abs(
        ndimage.correlate(x * x, taps, mode='nearest') - mean ** 2))
    normal = (x - mean) / (deviation + 1)
    # What is flat is neither left nor right of zero, whatever the rounding.
    normal[np.abs(normal) < 1e-9] = 0
    for index, (i, j) in enumerate(itertools.product(
        range(rows), range(columns))):
      part = np.s_[i * side:(i + 1) * side, j * side:(j + 1) * side]
      block = normal[part]
      alpha, left, right, _ = _aggd(block)
      features[index] += [alpha, (left + right) / 2]
      for shift in ((0, 1), (1, 0), (1, 1), (-1, 1)):
        alpha, left, right, ratio = _aggd(
            block * np.roll(block, shift, axis=(0, 1)))
        features[index] += [alpha, (right - left) * ratio, left, right]
      if side == 96:
        sharpness.append(deviation[part].mean())
    x = halve(halve(x).T).T
  return np.array(features), np.array(sharpness)


def halve(x):
  """Rows of imresize(x, 0.5), a matrix of stretched bicubic weights."""
  size = len(x)
  matrix = np.zeros((size // 2, size))
  for out, k in itertools.product(range(size // 2), range(-8, 9)):
    at = 2 * out + k
    d = abs(2 * out + .5 - at) / 2
    weight = (cubic(d, -0.5) if d < 2 else 0) / 2
    mirrored = -1 - at if at < 0 else 2 * size - 1 - at if at >= size else at
    matrix[out, mirrored] += weight
  return matrix @ x


def niqe(picture, mean, covariance):
  features, _ = niqe_features(picture)
  apart = mean - features.mean(axis=0)
  pooled = (covariance + np.cov(features, rowvar=False)) / 2
  return np.sqrt(apart @ np.linalg.pinv(pooled) @ apart)


def reblur_residual(restored, blur, kernel):
  """Arrays of floats here, [h, w, 3]."""
  top, left = (side // 2 for side in kernel.shape)
  h, w, _ = blur.shape
  return np.mean([np.abs(
      signal.convolve(restored[..., c], kernel, mode='valid', method='direct')
      - blur[top:h - top, left:w - left, c]) for c in range(3)])
