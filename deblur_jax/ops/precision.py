"""The choice between float32 and bfloat16 on this machine."""

import os
import platform
import sys

# Flags by which XLA hands half precision to oneDNN: its own is slower than
# float32. jax 0.10 and 0.12 know them.
ONEDNN = ('--xla_cpu_use_onednn=true '
          '--xla_cpu_experimental_onednn_custom_call=true')
# Flags in /proc/cpuinfo of instructions that multiply bfloat16.
_INSTRUCTIONS = ('amx_bf16', 'avx512_bf16')


def fastest() -> str:
  """Returns 'bfloat16' or 'float32': the faster one of the first device.

  bfloat16 is faster on accelerators, and on CPUs with instructions for it if
  `ask_for_onednn` was called before jax was imported.
  """
  import jax

  if jax.default_backend() != 'cpu':
    return 'bfloat16'
  uses_onednn = 'onednn' in os.environ.get('XLA_FLAGS', '')
  return 'bfloat16' if uses_onednn and has_bfloat16() else 'float32'


def has_bfloat16() -> bool:
  """Returns whether the CPU has the instructions of oneDNN for bfloat16."""
  if (sys.platform, platform.machine()) != ('linux', 'x86_64'):
    return False
  try:
    with open('/proc/cpuinfo') as file:
      flags = next((line for line in file if line.startswith('flags')), '')
  except OSError:
    return False
  return any(word in flags.split() for word in _INSTRUCTIONS)


def ask_for_onednn() -> None:
  """Sets XLA_FLAGS for fast bfloat16 where the CPU has instructions for it.

  It has no effect once jax has started a computation.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  if has_bfloat16() and 'onednn' not in flags:
    os.environ['XLA_FLAGS'] = f'{flags} {ONEDNN}'.strip()
