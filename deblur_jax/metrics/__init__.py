"""Metrics: one value an image, under a name that says the convention.

A metric is a file of this folder with its function and its record, and a row of
METRICS. The record (`record.Metric`) carries what evaluation, reports and tests
need to know: direction, range, inputs, convention.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deblur_jax import errors
from deblur_jax.config import call
from deblur_jax.metrics import (
  blur_effect,
  cw_ssim,
  kohler,
  laplacian_variance,
  lpips,
  ms_ssim,
  niqe,
  psnr,
  realblur,
  reblur,
  shift,
  ssim,
  vgg_distance,
)
from deblur_jax.metrics.record import Metric as Metric
from deblur_jax.state import Array

METRICS: dict[str, Metric] = {
    'psnr_uint8': psnr.UINT8,
    'psnr_float': psnr.FLOAT,
    'ssim_matlab3d': ssim.MATLAB3D,
    'ssim_skimage': ssim.SKIMAGE,
    'ms_ssim_luma': ms_ssim.LUMA,
    'ms_ssim_rgb': ms_ssim.RGB,
    'cw_ssim_pyssim': cw_ssim.PYSSIM,
    'psnr_luma_shaved': psnr.LUMA_SHAVED,
    'psnr_shift': shift.PSNR,
    'ssim_shift': shift.SSIM,
    'psnr_ecc': realblur.PSNR,
    'ssim_ecc': realblur.SSIM,
    'laplacian_variance': laplacian_variance.VARIANCE,
    'blur_effect': blur_effect.EFFECT,
    'lpips_alex': lpips.ALEXNET,
    'lpips_vgg': lpips.VGG16,
    'niqe': niqe.NIQE,
    'vgg19_unit': vgg_distance.UNIT,
    'error_ratio': shift.ERROR_RATIO,
    'reblur_residual': reblur.RESIDUAL,
    'psnr_kohler': kohler.PSNR,
    'ms_ssim_kohler': kohler.MS_SSIM,
}
# (restored, sharp) -> [n]: what evaluation always computes.
STANDARD = {name: metric.fn for name, metric in METRICS.items()
            if metric.standard}


def choose(
    names: Sequence[str] | Mapping[str, Mapping[str, Any]]
) -> dict[str, Callable[[Array, Array], Array]]:
  """The functions of metrics that need no other input than the sharp images.

  Args:
    names: rows of METRICS; or row -> keywords of its builder, such as
      {'niqe': {'path': 'niqe_pris_params.npz'}, 'ms_ssim_luma': {}}. They say
      where weights are; other options would be another convention under the
      same name.

  Returns:
    Name -> (restored, sharp) -> float32 [n], both [n, h, w, 3] in [0, 1]. A
    metric without reference ignores `sharp`.

  Raises:
    UserError: an unknown name, options that do not fit, or missing weights.
  """
  known = {name: metric for name, metric in METRICS.items()
           if set(metric.inputs) <= {'sharp'}}
  if not isinstance(names, Mapping):
    names = {name: {} for name in names}
  chosen = {}
  for name, options in names.items():
    metric = errors.look_up(known, name, what='metric')
    where = f'metrics.{name}'
    fn = metric.fn
    if metric.needs_weights:
      fn = call(fn, options, where=where)
    elif options:
      raise errors.UserError(f'{where} takes no options, got {options}.')
    chosen[name] = fn if metric.inputs else _ignore_sharp(fn)
  return chosen


def is_no_reference(name: str) -> bool:
  """Whether a name is that of a metric without reference.

  Args:
    name: a row of METRICS, or any other column of a table.

  Returns:
    True for a row that takes the restored images alone.
  """
  return name in METRICS and not METRICS[name].inputs


def _ignore_sharp(fn):
  return lambda restored, sharp: fn(restored)
