"""What a deep image prior is compared with: the input and classical methods.

Each is a function of a problem's batch (see `problems.Problem`), the factor by
which the result is larger, and the side of an unknown kernel in pixels. It
returns a picture [h, w, c] of the size of the result.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np
import scipy.ndimage
from PIL import Image

from deblur_jax import errors
from deblur_jax.blur import deconvolve, estimate, kernels
from deblur_jax.data import images
from deblur_jax.state import Batch

# (batch of one image, factor, side of an unknown kernel) -> [h, w, c]
Baseline = Callable[[Batch, int, int], np.ndarray]


def observed(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """The picture as it is."""
  del factor, kernel_size
  return batch['observed']


def nearest_pixel(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """Each pixel repeated."""
  del kernel_size
  return batch['observed'].repeat(factor, axis=0).repeat(factor, axis=1)


def bicubic(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """Bicubic interpolation."""
  del kernel_size
  height, width, _ = batch['observed'].shape
  return images.resize_planes(
      batch['observed'], size=(height * factor, width * factor),
      resample=Image.Resampling.BICUBIC)


def nearest_known(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """Each missing pixel becomes the nearest known pixel."""
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
  """scikit-image's non-local means; the noise is estimated from the picture."""
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
  """Deconvolution with the known kernel and a hyper-Laplacian prior."""
  del factor, kernel_size
  kernel = kernels.check_kernel(batch['kernel'])    # jit would not see values
  return np.asarray(_hyper_laplacian(batch['observed'][None], kernel))[0]


def classical_blind(batch: Batch, factor: int, kernel_size: int) -> np.ndarray:
  """The same with a kernel that is estimated from gradients."""
  kernel, = _kernel_of(batch['observed'][None], size=kernel_size)
  return hyper_laplacian(
      dict(batch, kernel=np.asarray(kernel)), factor, kernel_size)


_kernel_of = jax.jit(estimate.kernel_of, static_argnames='size')
_hyper_laplacian = jax.jit(
    functools.partial(deconvolve.hyper_laplacian, weight=estimate.WEIGHT))


def noise_level(picture: np.ndarray) -> float:
  """The standard deviation of Gaussian noise (Immerkaer, CVIU 1996, eq. 4).

  The mean absolute difference of two Laplacians. Straight edges change it
  little.

  Args:
    picture: float32 [h, w, c].

  Returns:
    The estimate, in the units of the picture.
  """
  laplacians = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
  left = scipy.ndimage.convolve(picture, laplacians[..., None])
  return float(np.sqrt(np.pi / 2) / 6 * np.abs(left).mean())
