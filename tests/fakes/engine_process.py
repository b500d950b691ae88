"""Plays vLLM's part: takes the arguments of `worker.engine.child`, and follows instructions.

The code to run is in the argument `--do` or, without it, in the variable FAKE_ENGINE_DO.
"""

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
    """Answer one health check after the other with these statuses; the last one stays.

    Other requests get no answer.
    """
    serve_health(lambda number: statuses[min(number, len(statuses) - 1)])


other = []


def on_other(answer):
    """Call `answer` at any request that is not a health check."""
    other.append(answer)


def serve_health(status_of):
    """Answer health check `number`, from 0, with the status `status_of(number)`."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(argument("--uds"))
    server.listen(16)
    number = 0
    unanswered = []
    while True:
        connection, _address = server.accept()
        if not connection.recv(65536).startswith(b"GET /health "):
            unanswered.append(connection)
            for answer in other:
                answer()
            continue
        status = status_of(number)
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


exec(argument("--do") if "--do" in arguments else os.environ["FAKE_ENGINE_DO"])
