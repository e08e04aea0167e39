r"""Deep image prior: artefacts of JPEG (Ulyanov et al., CVPR 2018, fig. 3).

  python -m experiments.prior --task=jpeg --input=blocks.jpg --out=OUT
"""

from configs import common


def get_config(arg=None):
  # 2400 steps of Adam at 1e-2. The network is that of the authors' program: 8
  # to 128 channels, on a code of three channels. Stopped as prior_denoise.
  return common.prior('jpeg', arg)
