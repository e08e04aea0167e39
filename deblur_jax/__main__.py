"""`python -m deblur_jax` runs the command `deblur`."""

from deblur_jax.app import cli

if __name__ == '__main__':
  cli.main()
