"""Answers in the forms of OpenAI and of servers with its API, for comparisons with the official package."""

from __future__ import annotations

from typing import Any

USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
DETAILS = {
    **USAGE,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 6,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 1,
        "rejected_prediction_tokens": 0,
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bergen"}'}}
LOGPROBS = {
    "content": [
        {
            "token": "Bears",
            "bytes": [66, 101],
            "logprob": -0.1,
            "top_logprobs": [
                {"token": "Bears", "bytes": None, "logprob": -0.1},
                {"token": "Cats", "logprob": -2.5},
            ],
        }
    ],
    "refusal": None,
}


def choice(message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop", **fields}


def chat(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1795990000,
        "model": "gpt-5-mini",
        "choices": list(choices),
        **fields,
    }


def chunk(delta: dict[str, Any] | None, *, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1795990000,
        "model": "gpt-5-mini",
        "choices": choices,
        **fields,
    }


def completion(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1795990000,
        "model": "gpt-3.5-turbo-instruct",
        "choices": list(choices),
        **fields,
    }


def text(text: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": "stop", **fields}


FILTERS = {
    "hate": {"filtered": False, "severity": "safe"},
    "violence": {"filtered": False, "severity": "low"},
}

BODIES: dict[str, dict[str, Any]] = {
    "plain": chat(choice({"content": "Bears eat fish."}), usage=USAGE),
    "details": chat(
        choice({"content": "Bears."}), usage=DETAILS, system_fingerprint="fp_1", service_tier="default"
    ),
    "without_usage": chat(choice({"content": "Bears."})),
    "usage_null": chat(choice({"content": "Bears."}), usage=None, system_fingerprint=None),
    "three_choices": chat(*[{**choice({"content": f"Bear {i}"}), "index": i} for i in range(3)], usage=USAGE),
    "no_choices": chat(usage=USAGE),
    "tool_call": chat(
        choice({"content": None, "tool_calls": [CALL]}, finish_reason="tool_calls"), usage=USAGE
    ),
    "two_tool_calls": chat(
        choice({"content": "Let me look.", "tool_calls": [CALL, {**CALL, "id": "call_2"}]})
    ),
    "tool_calls_null": chat(choice({"content": "Bears.", "tool_calls": None, "function_call": None})),
    "tool_calls_empty": chat(choice({"content": "Bears.", "tool_calls": []})),
    "function_call": chat(
        choice(
            {"content": None, "function_call": {"name": "weather", "arguments": "{}"}},
            finish_reason="function_call",
        )
    ),
    "refusal": chat(choice({"content": None, "refusal": "I cannot help with that."})),
    "logprobs": chat(choice({"content": "Bears"}, logprobs=LOGPROBS)),
    "logprobs_null": chat(choice({"content": "Bears"}, logprobs=None)),
    "length": chat(choice({"content": "Bears ea"}, finish_reason="length")),
    "content_filter": chat(choice({"content": ""}, finish_reason="content_filter")),
    "citations": chat(
        choice(
            {
                "content": "See here.",
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {
                            "start_index": 0,
                            "end_index": 3,
                            "title": "Bears",
                            "url": "https://b.example",
                        },
                    }
                ],
            }
        )
    ),
    "annotations_empty": chat(choice({"content": "Bears.", "refusal": None, "annotations": []})),
    "audio": chat(
        choice(
            {"content": None, "audio": {"id": "a1", "data": "AAAA", "expires_at": 1, "transcript": "Bears."}}
        )
    ),
    "metadata": chat(choice({"content": "Bears."}), metadata={"run": "7"}, request_id="req_1"),
    "azure": chat(
        choice({"content": "Bears."}, content_filter_results=FILTERS),
        prompt_filter_results=[{"prompt_index": 0, "content_filter_results": FILTERS}],
        usage=USAGE,
    ),
    "groq": chat(
        choice({"content": "Bears."}),
        usage={**USAGE, "queue_time": 0.01, "prompt_time": 0.002, "total_time": 0.1},
        x_groq={"id": "req_1"},
    ),
    "deepseek": chat(
        choice({"content": "Bears.", "reasoning_content": "They ask about bears."}),
        usage={**USAGE, "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 9},
    ),
    "openrouter": chat(
        choice(
            {"content": "Bears.", "reasoning": None, "reasoning_details": [{"type": "text", "text": "x"}]},
            native_finish_reason="STOP",
        ),
        provider="Google",
        usage={**USAGE, "cost": 0.0001, "cost_details": {"upstream": None}},
    ),
    "vllm": chat(
        choice({"content": "Bears.", "reasoning_content": None}, stop_reason=None),
        prompt_logprobs=None,
        kv_transfer_params=None,
    ),
    "mistral": chat(choice({"content": "Bears.", "tool_calls": None, "prefix": False})),
    "perplexity": chat(
        choice({"content": "Bears.", "delta": {"role": "assistant"}}), citations=["https://b.example"]
    ),
    "number_as_text": chat(choice({"content": "Bears."}), usage={**USAGE, "latency": "12ms"}),
    "chunk_first": chunk({"role": "assistant", "content": "", "refusal": None}, system_fingerprint="fp_1"),
    "chunk_text": chunk({"content": " bears"}, logprobs=None) | {"obfuscation": "x9"},
    "chunk_end": chunk({}, finish="stop"),
    "chunk_usage": chunk(None, usage=DETAILS, service_tier="default"),
    "chunk_usage_null": chunk({"content": "x"}, usage=None),
    "chunk_call_start": chunk(
        {"tool_calls": [{"index": 0, **CALL, "function": {"name": "weather", "arguments": ""}}]}
    ),
    "chunk_call_piece": chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"ci'}}]}),
    "chunk_function": chunk({"function_call": {"name": "weather", "arguments": ""}}),
    "chunk_reasoning": chunk({"content": None, "reasoning_content": "Hm."}),
    "chunk_audio": chunk({"audio": {"id": "a1", "data": "AA"}}),
    "completion": completion(text(" fish."), usage=USAGE),
    "completion_two": completion(text(" fish."), text(" honey.", 1, finish_reason="length"), usage=USAGE),
    "completion_logprobs": completion(
        text(
            " fish",
            logprobs={
                "tokens": [" fish"],
                "token_logprobs": [-0.2],
                "top_logprobs": [{" fish": -0.2}],
                "text_offset": [4],
            },
        )
    ),
    "embeddings": {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    },
    "model": {"id": "gpt-5-mini", "object": "model", "created": 1795990000, "owned_by": "openai"},
    "model_extra": {
        "id": "bear-7b",
        "object": "model",
        "created": 1,
        "owned_by": "vllm",
        "max_model_len": 4096,
        "permission": [],
    },
}
