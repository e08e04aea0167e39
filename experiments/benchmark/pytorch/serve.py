"""What the scripts share that time the authors' PyTorch code.

They run in a Python of their own that has torch. They answer each line
`train N` or `restore N` with one line of JSON, the seconds of N steps, so that
two programs can take turns.
"""

import contextlib
import json
import resource
import sys
import time

import torch


def restoring(options):
  """The context in which a network restores: no gradients, its dtype."""
  stack = contextlib.ExitStack()
  stack.enter_context(torch.no_grad())
  if options['dtype'] != 'float32':
    stack.enter_context(
        torch.autocast('cpu', getattr(torch, options['dtype'])))
  return stack


def serve(make_programs):
  """Answers until the input ends.

  Args:
    make_programs: (folder of the checkout, options) -> {name: function}.
  """
  folder, options = sys.argv[1], json.loads(sys.argv[2])
  torch.set_num_threads(options['threads'])
  programs = make_programs(folder, options)
  for line in sys.stdin:
    name, count = line.split()
    seconds = []
    for _ in range(int(count)):
      start = time.perf_counter()
      programs[name]()
      seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({'seconds': seconds, 'peak_kib': peak}), flush=True)
