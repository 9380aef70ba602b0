"""The Anthropic SDK for Python against the simulator."""

import json
import os

import anthropic
import jsonschema

ORIGIN, KEY = os.environ["SIM_ORIGIN"], os.environ["SIM_KEY"]
client = anthropic.Anthropic(base_url=ORIGIN, api_key=KEY, max_retries=0)

WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def request(prompt, **more):
    return {"model": "writer", "max_tokens": 400, "messages": [{"role": "user", "content": prompt}], **more}


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def plain():
    answer = client.messages.create(**request("List 3 titles for an article about tidal power.", system="Be brief."))
    assert len(answer.content[0].text.splitlines()) == 3
    assert answer.stop_reason == "end_turn" and answer.usage.output_tokens > 0
    assert answer._request_id.startswith("req_")
    assert client.messages.create(**request("Write an essay about tides.", max_tokens=5)).stop_reason == "max_tokens"


def streaming():
    body = request("Write a paragraph about lighthouses.")
    with client.messages.stream(**body) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    whole = client.messages.create(**body)
    assert text == final.content[0].text == whole.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens and final.stop_reason == "end_turn"
    assert final.usage.input_tokens == whole.usage.input_tokens


def tools():
    body = request("What is the weather in both Paris and Oslo?", tools=[WEATHER])
    answer = client.messages.create(**body)
    assert answer.stop_reason == "tool_use"
    assert [block.input for block in answer.content] == [{"city": "Paris"}, {"city": "Oslo"}]
    with client.messages.stream(**body) as stream:
        streamed = stream.get_final_message()
    assert [(block.id, block.input) for block in streamed.content] == [
        (block.id, block.input) for block in answer.content
    ]
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "18 degrees"} for block in answer.content]
    body["messages"] += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    assert "18 degrees" in client.messages.create(**body).content[0].text
    forced = client.messages.create(**request("Hello.", tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"}))
    assert forced.content[0].name == "get_weather"


def structured_output():
    schema = {
        "type": "object",
        "properties": {"year": {"type": "integer"}},
        "required": ["year"],
        "additionalProperties": False,
    }
    config = {"format": {"type": "json_schema", "schema": schema}}
    answer = client.messages.create(**request("When?"), extra_body={"output_config": config})
    jsonschema.validate(json.loads(answer.content[0].text), schema)


def models():
    assert [model.id for model in client.models.list()] == ["writer", "echo", "text-embedding-3-small"]
    assert client.models.retrieve("echo").display_name == "echo"


def errors():
    raises(anthropic.NotFoundError, lambda: client.messages.create(**request("hi", model="claude-9")))
    stranger = client.with_options(api_key="sk-wrong-9876543210")
    wrong_key = raises(anthropic.AuthenticationError, lambda: stranger.messages.create(**request("hi")))
    assert wrong_key.body["error"]["type"] == "authentication_error"
    raises(anthropic.BadRequestError, lambda: client.messages.create(model="echo", max_tokens=9, messages=[]))
    limited = anthropic.Anthropic(base_url=os.environ["SIM_LIMITED_ORIGIN"], api_key="any", max_retries=0)
    limited.messages.create(**request("hi"))
    too_many = raises(anthropic.RateLimitError, lambda: limited.messages.create(**request("hi")))
    assert too_many.body["error"]["type"] == "rate_limit_error"
    assert too_many.response.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    truncating = anthropic.Anthropic(base_url=os.environ["SIM_TRUNCATING_ORIGIN"], api_key="any", max_retries=0)
    raises(anthropic.APIConnectionError, lambda: truncating.messages.create(**request("hi")))


def batches():
    prompts = {"first": "List 3 titles for an article about rain.", "second": "hello"}
    requests = [{"custom_id": name, "params": request(prompt)} for name, prompt in prompts.items()]
    requests.append({"custom_id": "third", "params": request("hi", model="claude-9")})
    batch = client.messages.batches.create(requests=requests)
    batch = client.messages.batches.retrieve(batch.id)
    assert batch.processing_status == "ended" and batch.ended_at is not None
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (2, 1)
    results = {one.custom_id: one.result for one in client.messages.batches.results(batch.id)}
    for name, prompt in prompts.items():
        assert results[name].type == "succeeded"
        assert results[name].message.content[0].text == client.messages.create(**request(prompt)).content[0].text
    assert results["third"].type == "errored" and results["third"].error.error.type == "not_found_error"
    assert [one.id for one in client.messages.batches.list(limit=1)] == [batch.id]
    raises(anthropic.BadRequestError, lambda: client.messages.batches.create(requests=[requests[0], requests[0]]))


for check in [plain, streaming, tools, structured_output, models, errors, batches]:
    check()
    print(f"ok  anthropic {anthropic.__version__} (Python): {check.__name__}")
