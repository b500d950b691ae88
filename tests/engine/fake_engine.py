"""Plays vLLM's part: takes the arguments of `worker.engine.child`, and does what `--do` says."""

import json
import os
import signal
import socket
import sys
import time

_program, parent, descriptor, *arguments = sys.argv


def report(**message):
    os.write(int(descriptor), json.dumps(message).encode() + b"\n")


def argument(name):
    return arguments[arguments.index(name) + 1]


def serve(*statuses):
    """Answer one health check after the other with these statuses; the last one stays."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(argument("--uds"))
    server.listen(16)
    number = 0
    while True:
        connection, _address = server.accept()
        connection.recv(65536)
        status = statuses[min(number, len(statuses) - 1)]
        number += 1
        connection.sendall(
            f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        connection.close()


def fork_sleeper():
    """Start a process of the same group that outlives this one and holds its output open."""
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)


exec(argument("--do"))
