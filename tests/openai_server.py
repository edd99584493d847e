"""A loopback server that speaks the OpenAI protocol: each request is answered by the next scripted answer."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `seconds` is how long the server thinks, `cut` ends a stream without its end."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    seconds: float = 0.0
    cut: bool = False


@dataclass
class Server:
    url: str
    answers: list[Answer | Callable[[dict[str, Any]], Answer]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)

    def will(self, *answers: Answer | Callable[[dict[str, Any]], Answer]) -> "Server":
        """Answer the coming requests so; the last answer stays."""
        self.answers[:] = answers
        return self


def said(text: str | None, *, finish: str = "stop", usage: dict[str, int] | None = USAGE, **message: Any) -> Answer:
    """A chat completion with a text."""
    content = {"role": "assistant", "content": text, **message}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
    body["choices"] = [{"index": 0, "message": content, "finish_reason": finish}]
    return Answer(body | ({"usage": usage} if usage else {}))


def calls(*wanted: tuple[str, Any], usage: dict[str, int] | None = USAGE) -> Answer:
    """A chat completion that calls functions; arguments that are a string are sent as they are."""
    made = [
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": name, "arguments": args if isinstance(args, str) else json.dumps(args)},
        }
        for n, (name, args) in enumerate(wanted)
    ]
    return said(None, finish="tool_calls", usage=usage, tool_calls=made)


def refused(status: int, code: str = "", message: str = "no", **headers: str) -> Answer:
    """An error as OpenAI words it; headers are given with _ for -."""
    error = {"message": message, "type": "error", "param": None, "code": code or None}
    return Answer({"error": error}, status, {k.replace("_", "-"): v for k, v in headers.items()})


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of the loopback."""
    state = Server("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            number = len(state.requests)
            state.requests.append(asked | {"path": self.path, "authorization": self.headers.get("authorization")})
            state.asked.set()
            answer = state.answers[min(number, len(state.answers) - 1)]
            answer = answer if isinstance(answer, Answer) else answer(asked)
            time.sleep(answer.seconds)
            try:
                if asked.get("stream") and answer.status == 200 and answer.kind == "application/json":
                    self._stream(answer, asked)
                else:
                    self._whole(answer)
            except OSError:
                self.close_connection = True  # the client has gone

        def _whole(self, answer: Answer) -> None:
            body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            self._head(answer, len(body.encode()))
            self.wfile.write(body.encode())

        def _stream(self, answer: Answer, asked: dict[str, Any]) -> None:
            self._head(answer, None)
            for part in chunks(answer.body, bool((asked.get("stream_options") or {}).get("include_usage"))):
                self.wfile.write(f"data: {json.dumps(part)}\n\n".encode())
                self.wfile.flush()
                if answer.cut:
                    break
            else:
                self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

        def _head(self, answer: Answer, length: int | None) -> None:
            self.send_response(answer.status)
            self.send_header("content-type", answer.kind if length is not None else "text/event-stream")
            if length is not None:
                self.send_header("content-length", str(length))
            else:
                self.send_header("connection", "close")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    state.url = f"http://127.0.0.1:{http.server_port}/v1"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()


def chunks(body: dict[str, Any], usage: bool) -> Iterator[dict[str, Any]]:
    """A completion as its stream: words, then calls in halves, the reason of its end, and the usage if asked for."""
    frame = {"id": body["id"], "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def part(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    for choice in body["choices"]:
        message = choice["message"]
        yield part({"role": "assistant", "content": ""})
        for word in (message["content"] or "").split(" "):
            yield part({"content": f"{word} "})
        for n, call in enumerate(message.get("tool_calls") or []):
            named, text = call["function"]["name"], call["function"]["arguments"]
            first, rest = text[: len(text) // 2], text[len(text) // 2 :]
            yield part({"tool_calls": [call | {"index": n, "function": {"name": named, "arguments": first}}]})
            yield part({"tool_calls": [{"index": n, "function": {"arguments": rest}}]})
        yield part({}, choice["finish_reason"])
    if usage and "usage" in body:
        yield frame | {"choices": [], "usage": body["usage"]}
