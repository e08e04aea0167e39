r"""Deep image prior: noise (Ulyanov et al., CVPR 2018, section 3.1).

  python -m experiments.prior --task=denoise --input=noisy.png --out=OUT

The paper reports 30.43 dB at sigma 25 on nine pictures with the average of the
outputs, of fits that were stopped by looking at the truth (its number, not
ours).
"""

from configs import common


def get_config(arg=None):
  # 3000 steps of Adam at 1e-2, with the network of the authors' program: five
  # levels of 128 channels, skips of 4. The code is noise of 32 channels, and
  # noise of 1/30 is added to it in each step. The result is the average of the
  # outputs around the step at which their variance is lowest (ES-EMV), because
  # the truth is not known.
  return common.prior('denoise', arg)
