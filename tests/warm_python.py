"""``python`` at a command line, by `tests.warm`: the process is forked, and this one stands for it.

Signals are passed on, and the exit code is the other's. Run with ``-IS``: it imports next to nothing.
"""

import _socket
import marshal
import os
import signal
import sys
from array import array

NUMBER_SIZE = 4
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

process = 0
early: list[int] = []


def pass_on(number: int, _: object) -> None:
    if process:
        os.kill(process, number)
    else:
        early.append(number)


def number_from(connection: _socket.socket) -> int:
    found = b""
    while len(found) < NUMBER_SIZE:
        piece = connection.recv(NUMBER_SIZE - len(found))
        if not piece:
            sys.exit("the process that forks for tests has ended")
        found += piece
    return int.from_bytes(found, sys.byteorder, signed=True)


def main() -> None:
    global process
    words = sys.argv[1:]
    if path := os.environ.get("WARM_PYTHON"):
        for number in PASSED_ON:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, pass_on)
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.connect(path)
        request = marshal.dumps((words, dict(os.environ), os.getcwd()))
        size = len(request).to_bytes(NUMBER_SIZE, sys.byteorder, signed=True)
        connection.sendmsg([size], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", (0, 1, 2)))])
        connection.sendall(request)
        if process := number_from(connection):
            for number in early:
                os.kill(process, number)
            code = number_from(connection)
            if code < 0:
                signal.signal(-code, signal.SIG_DFL)
                os.kill(os.getpid(), -code)
            os._exit(code)
        for number in PASSED_ON:
            if signal.getsignal(number) == pass_on:
                signal.signal(number, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, *words])


main()
