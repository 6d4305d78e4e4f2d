"""`python -m mlops_lab.cli`."""

from mlops_lab.cli import main

main()
