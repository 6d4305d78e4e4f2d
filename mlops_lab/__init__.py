"""MLOps Lab turns an ordinary Jupyter notebook into a production ML pipeline without rewriting it."""

__version__ = "0.1.0"
