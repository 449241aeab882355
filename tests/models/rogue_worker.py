"""A worker that is ready and then misbehaves, as a real child process: rogue_worker.py MODE FD."""

import os
import signal
import socket
import sys
import time

import numpy as np

from models.exchange import READY, REQUEST, result_record


def main() -> None:
    mode, link = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    word, hello = result_record()
    hello[0]["kind"] = READY
    if mode == "dies_at_birth":
        os.kill(os.getpid(), signal.SIGKILL)
    link.send(word)
    while len(request := link.recv(REQUEST.size)) == REQUEST.size:
        slot, generation, part = REQUEST.unpack(request)
        word, result = result_record()
        answer = result[0]
        answer["slot"], answer["generation"], answer["part"] = slot, generation, part
        match mode:
            case "hangs":
                time.sleep(3600)
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exits":
                sys.exit(0)
            case "nan":
                answer["score"] = np.nan
            case "short":
                word = word[:-1]
            case "noise":
                word = bytearray(os.urandom(len(word)))
            case "other_part":
                answer["part"] = part + 1
            case "other_generation":
                answer["generation"] = generation - 1
            case "too_many_regions":
                answer["count"] = 65
            case "unknown_fault":
                answer["fault"] = 99
            case "slow":
                time.sleep(0.12)
        link.send(word)


main()
