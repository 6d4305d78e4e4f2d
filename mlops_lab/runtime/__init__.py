"""What runs inside a step's kernel. Travels into containers, so it imports the standard library and cloudpickle only."""

WIDGETS = "application/vnd.jupyter.widget-state+json"
FORMAT = 3  # of bundles and results; a change makes every stored result a miss
