"""Several processes that share one port: `xrouter serve --workers N`.

    supervisor  holds the port and the data folder, starts, replaces and stops the others
    worker      the data plane behind the shared port; what is not its own it forwards
    control     the control plane, the only one that opens the database; behind a local socket

They meet in a folder of their own (`rundir`), in the data folder (snapshot, journal), and nowhere
else.
"""

from __future__ import annotations
