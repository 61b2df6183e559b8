"""A port to listen on, taken before anything else is done."""

import errno
import socket

from heist.errors import ConfigError


def listen(host: str, port: int, chosen_by: str) -> socket.socket:
    """The open socket; raises `ConfigError`, which says by what another address is chosen."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except UnicodeError:
        why = "that is no name of a host"
    except OSError as error:
        why = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    raise ConfigError(f"cannot listen on {host}:{port}: {why}; {chosen_by} choose another")
