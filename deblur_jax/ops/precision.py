"""Which number format this machine computes in fastest."""

import os
import platform
import sys

# Flags by which XLA hands half precision to oneDNN: its own is slower than
# float32. jax 0.10 and 0.12 know them.
ONEDNN = ('--xla_cpu_use_onednn=true '
          '--xla_cpu_experimental_onednn_custom_call=true')
# Of /proc/cpuinfo, instructions that multiply bfloat16.
_INSTRUCTIONS = ('amx_bf16', 'avx512_bf16')


def fastest() -> str:
  """'bfloat16' or 'float32', whichever the first device computes faster.

  Accelerators compute bfloat16 faster, and so do CPUs that have instructions
  for it, once `ask_for_onednn` was called before jax was imported.
  """
  import jax

  if jax.default_backend() != 'cpu':
    return 'bfloat16'
  asked = 'onednn' in os.environ.get('XLA_FLAGS', '')
  return 'bfloat16' if asked and has_bfloat16() else 'float32'


def has_bfloat16() -> bool:
  """Whether the CPU has instructions that oneDNN needs for bfloat16."""
  if (sys.platform, platform.machine()) != ('linux', 'x86_64'):
    return False
  try:
    with open('/proc/cpuinfo') as file:
      flags = next((line for line in file if line.startswith('flags')), '')
  except OSError:
    return False
  return any(word in flags.split() for word in _INSTRUCTIONS)


def ask_for_onednn() -> None:
  """Sets XLA_FLAGS for bfloat16 on such a CPU; too late once jax computes."""
  told = os.environ.get('XLA_FLAGS', '')
  if has_bfloat16() and 'onednn' not in told:
    os.environ['XLA_FLAGS'] = f'{told} {ONEDNN}'.strip()
