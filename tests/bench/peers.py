#!/usr/bin/env python3
"""Puts `tidegate bench` before several brokers, one after the other, and prints a table of medians.

    tests/bench/peers.py [--rounds N] [--seconds S] [--only TEXT] [NAME=COMMAND ...]

COMMAND starts a broker in the foreground; {port}, {wsport} and {dir} are filled in, and {conf} is a
configuration file for mosquitto in {dir}. Without any: tidegate from target/release, and mosquitto.
Each run has a fresh broker on core 0 and the generator on core 1. What else the machine does shows in the
times and rates, less in CPU per message: compare within one table.
"""

import argparse
import json
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIDEGATE = ROOT / "target" / "release" / "tidegate"
CLOSED = "--duration {seconds} --warmup 1"
# Name, arguments of `tidegate bench`, and what of its JSON is told, with a unit.
WORKLOADS = [
    ("200 pairs, QoS 0, one message at a time", f"p2p -c 200 -w 1 {CLOSED}", ["cpu", "rate"]),
    ("100 pairs, QoS 0, 32 at a time", f"p2p -c 100 -w 32 {CLOSED}", ["cpu", "rate"]),
    ("100 pairs, QoS 1, 16 at a time", f"p2p -c 100 -q 1 -w 16 {CLOSED}", ["cpu", "rate"]),
    ("100 pairs, QoS 2, 16 at a time", f"p2p -c 100 -q 2 -w 16 {CLOSED}", ["cpu", "rate"]),
    ("500 to 4, QoS 1, 4 at a time", f"p2p --pubs 500 --subs 4 -q 1 -w 4 {CLOSED}", ["cpu", "rate"]),
    ("1 to 1,000, QoS 0, 2 at a time", f"p2p --pubs 1 --subs 1000 -w 2 {CLOSED}", ["cpu", "rate"]),
    ("100 pairs by WebSocket, QoS 0, 8 at a time", f"p2p --ws -c 100 -w 8 {CLOSED}", ["cpu", "rate"]),
    ("200 pairs, QoS 0, 5,000 messages/s in all", "p2p -c 200 --rate 25 --duration {seconds}", ["p50", "p99"]),
    ("10,000 connections, a subscription each", "connect -c 10000 -t bench/%i --hold 1", ["bytes", "connect"]),
]
MEASURES = {
    "cpu": ("CPU µs per message", lambda run: run["broker"]["cpu_us_per_message"]),
    "rate": ("messages/s", lambda run: run["messages"]["received_per_second"]),
    "p50": ("p50 µs", lambda run: run["delivery_us"]["p50"]),
    "p99": ("p99 µs", lambda run: run["delivery_us"]["p99"]),
    "bytes": ("bytes per connection", lambda run: run["broker"]["bytes_per_connection"]),
    "connect": ("CPU µs per connection", lambda run: run["broker"]["cpu_us_per_connection"]),
}
DEFAULTS = [
    f"tidegate={TIDEGATE} serve --data {{dir}}/data --set node.workers=1 --set admin.enabled=false"
    " --set listener.coap.enabled=false --set listener.lwm2m.enabled=false"
    " --set listener.mqtt.bind=127.0.0.1:{port} --set listener.websocket.bind=127.0.0.1:{wsport}",
    "mosquitto=mosquitto -c {conf}",
]
# Nobody is refused or loses messages by a limit.
MOSQUITTO = """\
listener {port} 127.0.0.1
listener {wsport} 127.0.0.1
protocol websockets
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, directory):
    """A broker that takes connections, and its two ports."""
    port, wsport = free_port(), free_port()
    conf = Path(directory) / "mosquitto.conf"
    conf.write_text(MOSQUITTO.format(port=port, wsport=wsport))
    filled = command.format(port=port, wsport=wsport, dir=directory, conf=conf)
    with open(Path(directory) / "log", "w") as log:
        broker = subprocess.Popen(["taskset", "-c", "0", *shlex.split(filled)], stdout=log, stderr=log)
    until = time.monotonic() + 10
    while time.monotonic() < until and broker.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return broker, port, wsport
        except OSError:
            time.sleep(0.05)
    broker.kill()
    sys.exit(f"{filled}\ndoes not listen:\n{(Path(directory) / 'log').read_text()}")


def measure(command, arguments):
    """One run; `None` if the broker did not do all of it."""
    with tempfile.TemporaryDirectory() as directory:
        broker, port, wsport = start(command, directory)
        try:
            ports = ["-p", str(wsport if "--ws" in arguments else port), "--pid", str(broker.pid)]
            bench = [str(TIDEGATE), "bench", *arguments, *ports, "--json", "--quiet"]
            done = subprocess.run(["taskset", "-c", "1", *bench], stdout=subprocess.PIPE, timeout=120)
        finally:
            broker.send_signal(signal.SIGTERM)
            broker.wait(20)
    return json.loads(done.stdout) if done.returncode == 0 else None


def figure(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name contains this")
    parser.add_argument("brokers", nargs="*", metavar="NAME=COMMAND")
    options = parser.parse_args()
    if not TIDEGATE.exists():
        sys.exit("first: cargo build --release")
    brokers = dict(broker.split("=", 1) for broker in options.brokers or DEFAULTS)
    print(f"| | {' | '.join(brokers)} |\n|---|{'---|' * len(brokers)}")
    for name, arguments, measures in WORKLOADS:
        if options.only not in name:
            continue
        arguments = shlex.split(arguments.format(seconds=options.seconds))
        runs = {broker: [] for broker in brokers}
        for _ in range(options.rounds):
            for broker, command in brokers.items():
                runs[broker].append(measure(command, arguments))
        for title, read in map(MEASURES.get, measures):
            cells = []
            for broker in brokers:
                found = [read(run) for run in runs[broker] if run]
                cells.append(figure(statistics.median(found)) if found else "failed")
            print(f"| {name}: {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
