use fanweave_core::prompt::{Endpoint, RequestBody};
use fanweave_core::{Parameters, Prompt, Result};
use serde_json::{Value, json};

use crate::protocol::Call;
use crate::vendor::Vendor;

/// The request for `model`, without the fields that do not depend on its reasoning.
fn request(model: &str, parameters: Parameters) -> Result<Value> {
    sent(model, &Prompt { parameters, ..Prompt::from("x") })
}

fn sent(model: &str, prompt: &Prompt) -> Result<Value> {
    let (vendor, name) = Vendor::of(model)?;
    let protocol = vendor.versioned_protocol(None)?;
    let call = Call { body: prompt.body.as_deref(), ..Call::new(name, &prompt.messages, &prompt.parameters) };
    let mut body: Value = serde_json::from_slice(&protocol.request(&call)?.body).expect("JSON");
    for field in ["model", "messages", "input", "contents", "stream"] {
        body.as_object_mut().expect("an object").shift_remove(field);
    }
    Ok(body)
}

fn effort(level: &str) -> Parameters {
    Parameters::new().reasoning_effort(level)
}

fn budget(tokens: u32) -> Parameters {
    Parameters::new().reasoning_budget(tokens)
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the caller has no use for it")]
fn assert_sent(model: &str, parameters: Parameters, expected: Value) {
    assert_eq!(request(model, parameters).expect(model), expected, "{model}");
}

#[track_caller]
fn assert_refused(model: &str, parameters: Parameters, says: &str) {
    let error = request(model, parameters).expect_err(model).to_string();
    assert!(error.contains(says), "{model}: {error}");
}

#[test]
fn a_level_is_sent_in_the_form_of_each_provider() {
    for (model, expected) in [
        ("openai/gpt-5-mini", json!({ "reasoning_effort": "low" })),
        ("openai-responses/gpt-5-mini", json!({ "reasoning": { "effort": "low" } })),
        (
            "anthropic/claude-sonnet-5",
            json!({
                "max_tokens": 32_000, "thinking": { "type": "adaptive" }, "output_config": { "effort": "low" },
            }),
        ),
        (
            "anthropic/claude-haiku-4-5",
            json!({ "max_tokens": 32_000, "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
        ),
        (
            "gemini/gemini-3-flash-preview",
            json!({ "generationConfig": { "thinkingConfig": { "thinkingLevel": "low" } } }),
        ),
        (
            "gemini/gemini-2.5-flash",
            json!({ "generationConfig": { "thinkingConfig": { "thinkingBudget": 1024 } } }),
        ),
        ("ollama/gpt-oss", json!({ "think": "low" })),
        ("openrouter/x", json!({ "reasoning": { "effort": "low" } })),
        ("deepseek/x", json!({ "thinking": { "type": "enabled" }, "reasoning_effort": "low" })),
        ("moonshot/kimi-k2.6", json!({ "thinking": { "type": "enabled" } })),
        ("moonshot/kimi-k3", json!({ "reasoning_effort": "low" })),
        ("zhipu/glm-4.7", json!({ "thinking": { "type": "enabled" } })),
        ("zhipu/glm-5", json!({ "thinking": { "type": "enabled" } })),
        ("zhipu/glm-5.2", json!({ "thinking": { "type": "enabled" }, "reasoning_effort": "low" })),
        ("mistral/mistral-small-latest", json!({ "reasoning_effort": "low" })),
        ("xai/grok-4.3", json!({ "reasoning_effort": "low" })),
        ("dashscope/x", json!({ "enable_thinking": true, "thinking_budget": 1024 })),
        ("groq/x", json!({ "reasoning_effort": "low" })),
    ] {
        assert_sent(model, effort("low"), expected);
    }
}

#[test]
fn reasoning_is_turned_off_by_none_and_by_a_budget_of_zero() {
    for (model, expected) in [
        ("openai/gpt-5.2", json!({ "reasoning_effort": "none" })),
        ("openai-responses/gpt-5.2", json!({ "reasoning": { "effort": "none" } })),
        ("anthropic/claude-sonnet-5", json!({ "thinking": { "type": "disabled" } })),
        ("anthropic/claude-haiku-4-5", json!({ "thinking": { "type": "disabled" } })),
        (
            "gemini/gemini-2.5-flash",
            json!({ "generationConfig": { "thinkingConfig": { "thinkingBudget": 0 } } }),
        ),
        ("ollama/qwen3", json!({ "think": false })),
        ("openrouter/x", json!({ "reasoning": { "effort": "none" } })),
        ("zhipu/glm-4.7", json!({ "thinking": { "type": "disabled" } })),
        ("zhipu/glm-5.2", json!({ "thinking": { "type": "disabled" } })),
        ("moonshot/kimi-k2.6", json!({ "thinking": { "type": "disabled" } })),
        ("deepseek/deepseek-v4-flash", json!({ "thinking": { "type": "disabled" } })),
        ("mistral/mistral-small-latest", json!({ "reasoning_effort": "none" })),
        ("xai/grok-4.3", json!({ "reasoning_effort": "none" })),
        ("dashscope/x", json!({ "enable_thinking": false })),
    ] {
        for parameters in [effort("none"), budget(0)] {
            let mut request = request(model, parameters).expect(model);
            request.as_object_mut().expect("an object").shift_remove("max_tokens");
            assert_eq!(request, expected, "{model}");
        }
    }
}

#[test]
fn a_budget_is_sent_where_there_is_a_field_for_it() {
    for model in ["anthropic/claude-sonnet-4-6", "anthropic/claude-opus-4-1"] {
        let thinking = json!({ "type": "enabled", "budget_tokens": 2048 });
        assert_sent(model, budget(2048), json!({ "max_tokens": 10_240, "thinking": thinking }));
    }
    let gemini = json!({ "generationConfig": { "thinkingConfig": { "thinkingBudget": 2048 } } });
    assert_sent("gemini/gemini-3-pro", budget(2048), gemini);
    assert_sent("openrouter/x", budget(2048), json!({ "reasoning": { "max_tokens": 2048 } }));
    assert_sent("dashscope/x", budget(2048), json!({ "enable_thinking": true, "thinking_budget": 2048 }));
    let without = ["openai/gpt-5", "openai-responses/gpt-5", "ollama/qwen3", "deepseek/x", "vllm/x"];
    for model in without.into_iter().chain(["moonshot/kimi-k2.6", "moonshot/kimi-k3", "zhipu/glm-5.2"]) {
        assert_refused(model, budget(2048), "takes no `reasoning_budget`: set `reasoning_effort`");
    }
}

#[test]
fn a_summary_is_requested_where_none_is_sent_by_default() {
    let wanted = Parameters::new().reasoning_summary(true);
    assert_sent("openai-responses/gpt-5", wanted.clone(), json!({ "reasoning": { "summary": "auto" } }));
    let thinking = json!({ "type": "adaptive", "display": "summarized" });
    let claude = json!({ "max_tokens": 32_000, "thinking": thinking, "output_config": { "effort": "max" } });
    assert_sent("anthropic/claude-opus-4-8", wanted.clone().reasoning_effort("max"), claude);
    let thoughts = json!({ "thinkingLevel": "high", "includeThoughts": true });
    let gemini = json!({ "generationConfig": { "thinkingConfig": thoughts } });
    assert_sent("gemini/gemini-3-pro", wanted.clone().reasoning_effort("high"), gemini);
    assert_sent("ollama/qwen3", wanted.clone(), json!({ "think": true }));
    assert_sent("deepseek/x", wanted.clone(), json!({}));
    assert_refused("openai/gpt-5", wanted.clone(), "use openai-responses/");
    assert_refused("anthropic/claude-haiku-4-5", wanted, "set `reasoning_effort`");
}

#[test]
fn what_a_dialect_cannot_say_is_refused_with_what_it_can() {
    let known = "use none, minimal, low, medium or high";
    for model in ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro", "ollama/gpt-oss", "dashscope/x"] {
        assert_refused(model, effort("xhigh"), known);
    }
    let both = effort("low").reasoning_budget(2048);
    for model in ["openai/gpt-5", "anthropic/claude-opus-4-6", "gemini/gemini-3-pro", "ollama/x"] {
        assert_refused(model, both.clone(), "are both set: keep one of them");
    }
    assert_refused("openai-completions/x", effort("low"), "does not support reasoning");
    assert_refused(
        "anthropic/claude-opus-4-1",
        budget(2048).max_tokens(2048),
        "less than the maximum output",
    );
    assert_refused("anthropic/claude-opus-4-1", budget(1), "from 1024 tokens");
    assert_refused("anthropic/claude-opus-4-1", effort("low").max_tokens(500), "from 1024 tokens");
}

#[test]
fn a_level_leaves_room_for_the_answer() {
    let thinking = json!({ "type": "enabled", "budget_tokens": 3000 });
    let sent = json!({ "max_tokens": 4000, "thinking": thinking });
    assert_sent("anthropic/claude-sonnet-4-5", effort("high").max_tokens(4000), sent);
}

#[test]
fn the_level_of_a_row_is_translated_and_its_own_dialect_keeps_it() {
    let body = RequestBody::new(Endpoint::ChatCompletions, r#"{"messages":[],"reasoning_effort":"low"}"#);
    let body = body.expect("an object");
    let prompt = Prompt { parameters: effort("low"), ..Prompt::from("x") }.with_body(body);
    assert_eq!(sent("openai/x", &prompt).unwrap(), json!({ "reasoning_effort": "low" }));
    let gemini = json!({ "generationConfig": { "thinkingConfig": { "thinkingLevel": "low" } } });
    assert_eq!(sent("gemini/gemini-3-pro", &prompt).unwrap(), gemini);
    let other = Prompt { parameters: effort("high"), ..prompt };
    assert_eq!(sent("openai/x", &other).unwrap(), json!({ "reasoning_effort": "high" }));
    assert_eq!(sent("openrouter/x", &other).unwrap(), json!({ "reasoning": { "effort": "high" } }));
}
