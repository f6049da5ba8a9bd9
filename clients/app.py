"""The ClientApp that a SuperNode runs on an edge device; what it reads from the node config is in the README."""

from fedcomp.flower import client_app

app = client_app()
