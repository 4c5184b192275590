#!/usr/bin/env python3
"""A network between a client and a server on this host: each byte takes so long, in each direction.

latency.py PORT SERVER_PORT MILLISECONDS FILE: listens at 127.0.0.1:PORT and passes on what comes to
127.0.0.1:SERVER_PORT and back. A new connection takes a round trip of its own, as TCP's handshake
does. The number of requests so far (HTTP/1.1) is kept in FILE. For kernels without netem.
"""

import asyncio
import re
import sys

REQUEST = re.compile(rb"(?:GET|HEAD|PUT|POST|DELETE) /[^\r\n ]* HTTP/1\.1\r\n")


class Network:
    def __init__(self, server_port, delay, file):
        self.server_port = server_port
        self.delay = delay
        self.file = file
        self.requests = 0

    async def connected(self, reader, writer):
        await asyncio.sleep(2 * self.delay)
        try:
            there = await asyncio.open_connection("127.0.0.1", self.server_port)
            await asyncio.gather(
                self.carry(reader, there[1], self.count), self.carry(there[0], writer, None)
            )
        except OSError:
            pass  # whoever is left sees it
        finally:
            writer.close()

    def count(self, data):
        found = len(REQUEST.findall(data))
        if found:
            self.requests += found
            with open(self.file, "w") as file:
                file.write(f"{self.requests}\n")

    async def carry(self, reader, writer, seen):
        """One direction: what has been read is written when its time has come."""
        loop = asyncio.get_running_loop()
        under_way = asyncio.Queue(maxsize=256)

        async def arrive():
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0, due - loop.time()))
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        arriving = asyncio.create_task(arrive())
        try:
            while not arriving.done():
                data = await reader.read(1 << 18)
                if seen:
                    seen(data)
                await under_way.put((loop.time() + self.delay, data))
                if not data:
                    break
            await arriving
        finally:
            arriving.cancel()


async def main(port, server_port, delay, file):
    network = Network(int(server_port), float(delay) / 1000, file)
    with open(file, "w") as counted:
        counted.write("0\n")
    server = await asyncio.start_server(network.connected, "127.0.0.1", int(port), limit=1 << 20)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
