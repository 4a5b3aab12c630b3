"""python -m xrouter.sandbox --port N: the sandbox alone, without the rest of the product."""

from __future__ import annotations

import argparse

from xrouter.sandbox.server import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="xrouter.sandbox")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--leashed", action="store_true", help="end when standard input does")
    given = parser.parse_args()
    main(given.host, given.port, announce=True, leashed=given.leashed)
