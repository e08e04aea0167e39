r"""Deep image prior: super-resolution (Ulyanov et al., CVPR 2018, section 3.2).

  python -m experiments.prior --task=sr --factor=4 --input=small.png \
      --out=OUT

For a factor of 8 the authors take --config.method.jitter=0.05 and
--config.total_steps=4000. The paper reports 29.90 dB on Set5 at factor 4 (luma;
its number, not ours) for the last output.
"""

from configs import common


def get_config(arg=None):
  # 2000 steps of Adam at 1e-2; the output, made smaller by Lanczos2, is
  # compared with the picture, four times smaller without --factor. The result
  # is the average of the outputs: the picture has no noise to fit.
  return common.prior('sr', arg)
