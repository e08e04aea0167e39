r"""Deep image prior: flash and no flash (Ulyanov et al., CVPR 2018).

  python -m experiments.prior --task=flash --input=dark.png --guide=flash.png \
      --out=OUT

The picture with flash is the code of the network, so its edges guide the
denoising of the picture without flash. Both must have one size.
"""

from configs import common


def get_config(arg=None):
  # 600 steps of Adam at 0.1, without noise on the code. The two finest levels
  # are enlarged by nearest neighbours. The result is the last output.
  return common.prior('flash', arg)
