r"""Deep image prior: deblurring with a known kernel.

  python -m experiments.prior --task=deblur --input=blurred.png \
      --kernel=kernel.png --out=OUT

The non-blind mode of SelfDeblur (Ren et al., CVPR 2020).
"""

from configs import common


def get_config(arg=None):
  # 1000 steps of Adam at 1e-2, halved at 700, 800 and 900, with SelfDeblur's
  # network for the picture. The result is the last output.
  return common.prior('deblur', arg)
