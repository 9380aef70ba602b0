"""The OpenAI SDK for Python against the simulator."""

import json
import os
import pathlib
import subprocess
import tempfile

import jsonschema
import openai
from pydantic import BaseModel

ORIGIN, KEY = os.environ["SIM_ORIGIN"], os.environ["SIM_KEY"]
client = openai.OpenAI(base_url=f"{ORIGIN}/v1", api_key=KEY, max_retries=0)

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def ask(prompt, **more):
    return client.chat.completions.create(model="writer", messages=[{"role": "user", "content": prompt}], **more)


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def chat():
    answer = ask("List 3 titles for an article about tidal power.")
    assert len(answer.choices[0].message.content.splitlines()) == 3
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id.startswith("req_")
    assert len(ask("Write a haiku.", n=3).choices) == 3
    assert ask("Write a paragraph about tides.", max_completion_tokens=5).choices[0].finish_reason == "length"


def streaming():
    chunks = list(ask("Write a paragraph about lighthouses.", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == ask("Write a paragraph about lighthouses.").choices[0].message.content
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    with client.chat.completions.stream(
        model="writer", messages=[{"role": "user", "content": "Write a haiku about tides."}]
    ) as stream:
        events = [event.type for event in stream]
    assert "content.delta" in events and "content.done" in events


def tools():
    prompt = "What is the weather in both Paris and Oslo?"
    calls = ask(prompt, tools=[WEATHER]).choices[0].message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Oslo"]
    with client.chat.completions.stream(
        model="writer", messages=[{"role": "user", "content": prompt}], tools=[WEATHER]
    ) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert [(call.id, call.function.arguments) for call in streamed] == [
        (call.id, call.function.arguments) for call in calls
    ]
    answer = client.chat.completions.create(
        model="writer",
        tools=[WEATHER],
        messages=[
            {"role": "user", "content": prompt},
            {"role": "assistant", "tool_calls": [call.model_dump() for call in calls]},
            *({"role": "tool", "tool_call_id": call.id, "content": "18 degrees"} for call in calls),
        ],
    )
    assert "18 degrees" in answer.choices[0].message.content


def structured_output():
    class Step(BaseModel):
        explanation: str
        minutes: int

    class Recipe(BaseModel):
        title: str
        steps: list[Step]
        source: str | None

    parsed = client.chat.completions.parse(
        model="writer", messages=[{"role": "user", "content": "A recipe for bread."}], response_format=Recipe
    )
    recipe = parsed.choices[0].message.parsed
    assert recipe.title and recipe.steps
    schema = {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 4}
    answer = ask("Anything.", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    jsonschema.validate(json.loads(answer.choices[0].message.content), schema)
    json.loads(ask("A person as JSON.", response_format={"type": "json_object"}).choices[0].message.content)


def completions():
    answer = client.completions.create(model="echo", prompt=["first", "second"], n=2)
    assert [choice.text.split(" ", 1)[1] for choice in answer.choices] == ["first", "first", "second", "second"]
    chunks = client.completions.create(model="echo", prompt="one two", stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks).endswith("one two")


def embeddings():
    # The SDK asks for base64 and decodes it.
    packed = client.embeddings.create(model="text-embedding-3-small", input=["tides", "bread"], dimensions=64)
    plain = client.embeddings.create(
        model="text-embedding-3-small", input=["tides", "bread"], dimensions=64, encoding_format="float"
    )
    for one, other in zip(packed.data, plain.data, strict=True):
        assert len(one.embedding) == 64
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding, strict=True))
        assert abs(sum(number * number for number in one.embedding) - 1) < 1e-4
    assert len(client.embeddings.create(model="text-embedding-3-small", input="x").data[0].embedding) == 1536


def models():
    assert [model.id for model in client.models.list()] == ["writer", "echo", "text-embedding-3-small"]
    assert client.models.retrieve("echo").id == "echo"


def errors():
    unknown = raises(
        openai.NotFoundError,
        lambda: client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hi"}]),
    )
    assert unknown.code == "model_not_found"
    stranger = client.with_options(api_key="sk-wrong-9876543210")
    wrong_key = raises(openai.AuthenticationError, stranger.models.list)
    assert wrong_key.code == "invalid_api_key" and "9876543210" not in str(wrong_key)
    raises(openai.BadRequestError, lambda: client.chat.completions.create(model="echo", messages=[]))
    limited = openai.OpenAI(base_url=os.environ["SIM_LIMITED_ORIGIN"] + "/v1", api_key="any", max_retries=0)
    hello = dict(model="echo", messages=[{"role": "user", "content": "hi"}])
    limited.chat.completions.create(**hello)
    too_many = raises(openai.RateLimitError, lambda: limited.chat.completions.create(**hello))
    assert too_many.code == "rate_limit_exceeded" and int(too_many.response.headers["retry-after-ms"]) > 0
    truncating = openai.OpenAI(base_url=os.environ["SIM_TRUNCATING_ORIGIN"] + "/v1", api_key="any", max_retries=0)
    raises(openai.APIConnectionError, lambda: truncating.chat.completions.create(**hello))


def batch_lines(prompts, model="writer"):
    url = "/v1/chat/completions"
    bodies = [{"model": model, "messages": [{"role": "user", "content": prompt}]} for prompt in prompts]
    rows = [{"custom_id": f"row-{i}", "method": "POST", "url": url, "body": body} for i, body in enumerate(bodies)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def answers_of(text):
    """The answers in a file of batch results, read with the SDK's own types."""
    answers = {}
    for line in map(json.loads, text.splitlines()):
        assert set(line) == {"id", "custom_id", "response", "error"} and line["error"] is None
        assert line["response"]["status_code"] == 200
        completion = openai.types.chat.ChatCompletion.model_validate(line["response"]["body"], strict=True)
        assert completion.usage.total_tokens > 0
        answers[line["custom_id"]] = completion.choices[0].message.content
    return answers


def batches():
    prompts = ["Write a haiku about tides.", "List 3 titles about lighthouses.", "Name a bear."]
    lines = batch_lines(prompts)
    file = client.files.create(file=("in.jsonl", lines.encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"of": "this test"}
    )
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed" and batch.request_counts.completed == 3 and batch.error_file_id is None
    official = answers_of(client.files.content(batch.output_file_id).text)
    assert [one.id for one in client.batches.list(limit=1)] == [batch.id]

    # The same file through `fanweave batch`, a call a row and through the batch API: the same lines.
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "in.jsonl").write_text(lines)
        for via in ["calls", "batch-api"]:
            command = [os.environ["FANWEAVE"], "batch", "in.jsonl", "-o", f"{via}.jsonl", "-q", "--via", via]
            command += ["--model", "openai/writer", "--base-url", f"{ORIGIN}/v1"]
            subprocess.run(command, cwd=folder, env={**os.environ, "OPENAI_API_KEY": KEY}, check=True)
            assert answers_of((folder / f"{via}.jsonl").read_text()) == official


def batches_of_every_dialect():
    """Results of `fanweave batch` are those of OpenAI's batches, whatever the dialect of the provider."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAAA", "detail": "low"}}
    prompts = ["Name a bear.", [{"type": "text", "text": "What is this?"}, image]]
    lines = batch_lines(prompts)
    call = {"model": "writer", "messages": [{"role": "user", "content": "How is Oslo?"}], "tools": [WEATHER]}
    call["tool_choice"] = "required"
    row = {"custom_id": "call", "method": "POST", "url": "/v1/chat/completions", "body": call}
    for vendor in ["openai", "anthropic", "gemini", "ollama", "openai-responses"]:
        url = f"{ORIGIN}/v1" if vendor.startswith("openai") else ORIGIN
        rows = lines if vendor == "ollama" else lines + json.dumps(row) + "\n"
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "in.jsonl").write_text(rows)
            command = [os.environ["FANWEAVE"], "batch", "in.jsonl", "-o", "out.jsonl", "-q", "--override-model"]
            command += ["--model", f"{vendor}/writer", "--base-url", url]
            keys = {f"{name}_API_KEY": KEY for name in ["OPENAI", "ANTHROPIC", "GEMINI", "OLLAMA"]}
            subprocess.run(command, cwd=folder, env={**os.environ, **keys}, check=True)
            answers = answers_of((pathlib.Path(folder) / "out.jsonl").read_text())
            assert answers["row-0"] and answers["row-1"], (vendor, answers)


for check in [chat, streaming, tools, structured_output, completions, embeddings, models, errors, batches, batches_of_every_dialect]:
    check()
    print(f"ok  openai {openai.__version__} (Python): {check.__name__}")
