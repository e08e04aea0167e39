"""How good a restored image is: one value an image.

Four tables, all of functions that may be jitted and take float32 [n, h, w, 3]
in [0, 1]; each name has its convention in it.

  METRICS          fn(restored, sharp) -> [n]: what evaluation always computes.
  FULL_REFERENCE   all such, METRICS among them.
  NO_REFERENCE     fn(image) -> [n]: without the sharp picture.
  WITH_WEIGHTS     builders of further ones, which need files.

Metrics of other inputs are functions in their modules: `kohler.psnr_kohler`
and `kohler.ms_ssim_kohler` (many sharp frames), `shift.error_ratio` (the result
with the true kernel), `reblur.reblur_residual` (blurry picture and kernel).

Those without reference measure sharpness or naturalness, not faithfulness: they
prefer ringing and noise to the truth, so no table is ranked by them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deblur_jax import errors
from deblur_jax.config import call
from deblur_jax.metrics import (
  cw_ssim,
  ecc,
  lpips,
  ms_ssim,
  niqe,
  psnr,
  sharpness,
  shift,
  ssim,
  vgg,
)
from deblur_jax.state import Array


def choose(
    names: Sequence[str] | Mapping[str, Mapping[str, Any]]
) -> dict[str, Callable[[Array, Array], Array]]:
  """fn(restored, sharp) -> [n] for each name; some do not look at `sharp`.

  Args:
    names: of any table; or name -> keywords of its builder, such as
      {'niqe': {'path': 'niqe_pris_params.npz'}, 'ms_ssim_luma': {}}.

  Raises:
    UserError: an unknown name, options that do not fit, weights not there.
  """
  if not isinstance(names, Mapping):
    names = {name: {} for name in names}
  chosen = {}
  for name, options in names.items():
    fn = errors.look_up(ALL, name, what='metric')
    where = f'metrics.{name}'
    if name in WITH_WEIGHTS:
      fn = call(fn, options, where=where)
    elif options:
      raise errors.UserError(f'{where} takes no options, got {options}.')
    chosen[name] = _ignore_sharp(fn) if is_no_reference(name) else fn
  return chosen


def is_no_reference(name: str) -> bool:
  """Whether a metric does without the sharp picture."""
  return name in NO_REFERENCE or name == 'niqe'


def _ignore_sharp(fn):
  return lambda restored, sharp: fn(restored)


METRICS = {
    'psnr_uint8': psnr.psnr_uint8,
    'psnr_float': psnr.psnr_float,
    'ssim_matlab3d': ssim.ssim_matlab3d,
    'ssim_skimage': ssim.ssim_skimage,
}
FULL_REFERENCE = METRICS | {
    'ms_ssim_luma': ms_ssim.ms_ssim_luma,
    'ms_ssim_rgb': ms_ssim.ms_ssim_rgb,
    'cw_ssim_pyssim': cw_ssim.cw_ssim_pyssim,
    'psnr_luma_shaved': psnr.psnr_luma_shaved,
    'psnr_shift': shift.psnr_shift,
    'ssim_shift': shift.ssim_shift,
    'psnr_ecc': ecc.psnr_ecc,
    'ssim_ecc': ecc.ssim_ecc,
}
NO_REFERENCE = {
    'laplacian_variance': sharpness.laplacian_variance,
    'blur_effect': sharpness.blur_effect,
}
WITH_WEIGHTS = {
    'lpips_alex': lpips.build_alex,
    'lpips_vgg': lpips.build_vgg,
    'niqe': niqe.build,
    'vgg19_unit': vgg.build_unit,
}
ALL = FULL_REFERENCE | NO_REFERENCE | WITH_WEIGHTS
