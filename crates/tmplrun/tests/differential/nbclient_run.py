"""Runs a notebook with nbclient: INPUT OUTPUT OPTIONS, the last being JSON."""

import json
import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

source, target, options = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
status = 0
try:
    NotebookClient(notebook, **json.loads(options)).execute()
except CellExecutionError:
    status = 1
nbformat.write(notebook, target)
sys.exit(status)
