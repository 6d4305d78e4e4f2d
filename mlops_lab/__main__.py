"""`python -m mlops_lab` is the command `mlops-lab`."""

from mlops_lab.cli import main

main()
