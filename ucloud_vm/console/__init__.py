"""The consoles of the VMs on this host, over HTTP: the serial log, the serial line itself, and what the display shows.

    GET /vm/<uuid>/log?tail_bytes=N    the end of the serial log, as text
    GET /vm/<uuid>/screenshot          the display, as PNG
    GET /vm/<uuid>/console             the serial line, as a websocket, for one at a time

Each wants `Authorization: Bearer <token>`. A token opens one VM and can't be had from another's. It must never tell a
VM's secrets to who has no token, nor let a client stall a guest, whatever it sends or leaves unread.
"""
