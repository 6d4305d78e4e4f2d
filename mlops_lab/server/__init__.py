"""The Jupyter server extension: what the sidebar asks for, and anyone with `curl` (docs/rest.md, docs/openapi.yaml).

`app.py` is found by the server; `handlers.py` and `stream.py` are thin. What they answer comes from modules that know no
server: `places.py` (paths and runs below the server's root), `analysis.py` and `fixes.py`, `runs.py` and `follow.py`,
`previews.py`, `opened.py`, `comparison.py`, `connections.py`.
"""
