"""The Jupyter server of the UI tests: Galata's settings, on a folder of its own."""

from jupyterlab.galata import configure_jupyter_server

configure_jupyter_server(c)  # noqa: F821 - given by Jupyter
c.JupyterNotebookApp.expose_app_in_browser = True  # noqa: F821
