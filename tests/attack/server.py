"""A hostile provider: an OpenAI-compatible server that answers at once, late, twice, or with far too much."""

import asyncio
import json
import threading


def answer_of(prompt):
    return f"answer to {prompt}"


def completion(text, calls=None):
    message = {"role": "assistant", "content": text}
    if calls is not None:
        message["tool_calls"] = calls
    return {
        "id": "x",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }


def response(body, media_type="application/json"):
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Server:
    """Answers in a thread of its own. `latency` delays each answer, `surplus` sends each answer twice, and `body`
    replaces all answers."""

    def __init__(self, latency=0.0, surplus=False, body=None):
        self.latency, self.surplus, self.body = latency, surplus, body
        self.prompts = []
        self.ended = {}
        ready = threading.Event()
        self.loop = asyncio.new_event_loop()

        async def start():
            self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=4096)
            self.port = self.server.sockets[0].getsockname()[1]
            ready.set()

        def run():
            asyncio.set_event_loop(self.loop)
            # Tasks that are pending at the end are dropped.
            self.loop.set_exception_handler(lambda *_: None)
            self.loop.run_until_complete(start())
            self.loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        ready.wait()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                request = json.loads(await reader.readexactly(length))
                prompt = request["messages"][-1]["content"]
                self.prompts.append(prompt)
                if self.latency:
                    await asyncio.sleep(self.latency)
                if self.body is not None:
                    media_type, body = self.body
                    writer.write(response(body, media_type))
                else:
                    writer.write(response(json.dumps(completion(answer_of(prompt))).encode()))
                    if self.surplus:
                        writer.write(response(json.dumps(completion("an answer without a request")).encode()))
                await writer.drain()
                self.ended[prompt] = self.loop.time()
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            pass
        finally:
            if not self.loop.is_closed() and self.loop.is_running():
                writer.close()
