"""What stands beside a deep image prior: the input, and a classical method.

Both as pictures of the size of the result, so that one metric judges all.
"""

from collections.abc import Callable, Mapping

import numpy as np
import scipy.ndimage
from PIL import Image

from deblur_jax import errors
from deblur_jax.blur import deconvolve, estimate
from deblur_jax.state import Batch

# (what one image's batch holds, factor, size of an unknown kernel) -> [h, w, c]
Baseline = Callable[[Batch, int, int], np.ndarray]


def observed(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """As it came."""
  del factor, kernel_size
  return batch['observed']


def nearest_pixel(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """Each pixel repeated."""
  del kernel_size
  return batch['observed'].repeat(factor, axis=0).repeat(factor, axis=1)


def bicubic(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """Bicubic interpolation."""
  del kernel_size
  height, width, channels = batch['observed'].shape
  size = width * factor, height * factor
  planes = [Image.fromarray(batch['observed'][..., c]).resize(
      size, Image.Resampling.BICUBIC) for c in range(channels)]
  return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def nearest_known(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """What is missing takes the value of the nearest pixel that is known."""
  del factor, kernel_size
  unknown = np.broadcast_to(batch['mask'], batch['observed'].shape)[..., 0] == 0
  rows, columns = scipy.ndimage.distance_transform_edt(
      unknown, return_distances=False, return_indices=True)
  return batch['observed'][rows, columns]


def biharmonic(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """scikit-image's biharmonic inpainting."""
  del factor, kernel_size
  return _restoration().inpaint_biharmonic(
      batch['observed'], batch['mask'][..., 0] == 0, channel_axis=-1,
      split_into_regions=True)


def non_local_means(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """scikit-image's, of the noise level that the picture shows."""
  del factor, kernel_size
  blur = batch['observed']
  sigma = noise_level(blur)
  denoised = _restoration().denoise_nl_means(
      blur, h=0.6 * sigma, sigma=sigma, patch_size=5, patch_distance=6,
      channel_axis=-1)
  return denoised.reshape(blur.shape)    # it drops axes of length 1


def _restoration():
  """skimage.restoration, which the base install lacks."""
  with errors.needs_extra(
      'scikit-image', extra='train', what='This baseline'):
    from skimage import restoration
  return restoration


def hyper_laplacian(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """With the kernel that is known."""
  del factor, kernel_size
  return np.asarray(deconvolve.hyper_laplacian(
      batch['observed'][None], batch['kernel'], weight=2e3))[0]


def classical_blind(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """A kernel from the picture's gradients, then the hyper-Laplacian prior."""
  del factor
  return np.asarray(estimate.deblur(
      batch['observed'][None], size=kernel_size, sparse=8e-3,
      deconvolution=dict(name='hyper_laplacian', weight=2e3)))[0]


def noise_level(picture: np.ndarray) -> float:
  """Standard deviation of Gaussian noise in [h, w, c] (Immerkaer, CVIU 1996).

  The mean of the absolute differences of two Laplacians, which no edge that is
  straight leaves much in.
  """
  laplacians = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
  left = scipy.ndimage.convolve(picture, laplacians[..., None])
  return float(np.sqrt(np.pi / 2) / 6 * np.abs(left).mean())


# task -> (the input's row, the classical row)
BASELINES: Mapping[str, tuple[Baseline, Baseline | None]] = {
    'blend': (observed, None),
    'blind': (observed, classical_blind),
    'deblur': (observed, hyper_laplacian),
    'denoise': (observed, non_local_means),
    'flash': (observed, None),
    'inpaint': (nearest_known, biharmonic),
    'jpeg': (observed, non_local_means),
    'sr': (nearest_pixel, bicubic),
}
