r"""Blind deblurring by two priors: SelfDeblur (Ren et al., CVPR 2020).

  python -m experiments.prior --task=blind --kernel_size=19 --seeds=2 \
      --input=blurred.png --out=OUT

One fit in thirty ends in the wrong picture; with --seeds=2 the better of two
fits counts. The paper reports 33.07 dB on Levin's pictures (its number, not
ours); fit those with --gray. The channels of a colour picture are fitted
together.
"""

from configs import common


def get_config(arg=None):
  # 5000 steps of Adam at 1e-2 for the picture and 1e-4 for the kernel, both
  # halved at 2000, 3000 and 4000. The loss is the MSE for 1000 steps, then
  # 1 - SSIM. The kernel is 31x31 without --kernel_size.
  return common.prior('blind', arg)
