//! Answers of the model, tested through the public interface.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn text(prompt: &str) -> String {
    text_of(&ChatRequest::new("sim/writer", prompt))
}

fn text_of(request: &ChatRequest<'_>) -> String {
    match answer(request).answers.remove(0).content {
        Content::Text(text) => text,
        Content::Calls(calls) => panic!("calls instead of text: {calls:?}"),
    }
}

fn calls_of(request: &ChatRequest<'_>) -> Vec<ToolCall> {
    match answer(request).answers.remove(0).content {
        Content::Calls(calls) => calls,
        Content::Text(text) => panic!("text instead of calls: {text}"),
    }
}

fn weather_tool() -> Tool {
    Tool {
        name: "get_weather".into(),
        description: "Current weather of a city".into(),
        parameters: json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] }),
    }
}

fn message(role: Role, text: &str) -> ChatMessage<'_> {
    ChatMessage { role, text: text.into() }
}

#[test]
fn a_name_starting_with_echo_echoes() {
    for model in ["echo", "sim/echo", "echo-large"] {
        assert_eq!(Kind::of_model(model), Kind::Echo, "{model}");
    }
    assert_eq!(Kind::of_model("openai/gpt-5-mini"), Kind::Writer);
    assert_eq!(text_of(&ChatRequest::new("echo", "123456789")), "cbf43926 123456789");
}

#[test]
fn answers_read_well() {
    let answers = [
        "Name a company that makes toothpaste",
        "What is a good name for a company that makes colorful socks?",
        "Tell a joke about bears.",
        "Write a haiku about the sea.",
        "List 3 titles for an article about tidal power.",
        "Write five lines about the sea.",
        "Explain the water cycle in two sentences.",
        "Describe tidal power in 12 words.",
        "Write a paragraph about lighthouses.",
        "Why is the sky blue?",
        "Is the sea salty? Answer yes or no.",
        "Recommend a fantasy book",
        "List 4 colors, comma-separated",
        "Translate \"good morning\" to French.",
        "Hello, how are you?",
        "What is 13 * 7?",
        "Give me 3 tips for growing tomatoes as a numbered list",
        "Tell me about async programming in Python",
    ]
    .map(|prompt| format!("> {prompt}\n{}", text(prompt)))
    .join("\n\n");
    insta::assert_snapshot!(answers);
}

#[test]
fn counts_are_obeyed() {
    for count in [1, 2, 5, 17, 40] {
        assert_eq!(text(&format!("Write {count} lines about tides.")).lines().count(), count);
        assert_eq!(
            text(&format!("Describe tides in exactly {count} words.")).split_whitespace().count(),
            count
        );
        let sentences = text(&format!("Describe tides in {count} sentences."));
        assert_eq!(words::sentences(&sentences).count(), count, "{sentences}");
    }
    let titles: Vec<String> =
        serde_json::from_str(&text("Return a JSON array of 4 titles about tides.")).unwrap();
    assert_eq!(titles.len(), 4);
}

#[test]
fn system_instructions_apply_unless_the_user_gives_some() {
    let outline = ChatRequest::from_messages(
        "sim/writer",
        vec![
            message(Role::System, "You are a technical writer. Return a numbered list of 3 section titles."),
            message(Role::User, "Create an outline for a short article about: tidal power"),
        ],
    );
    let text = text_of(&outline);
    assert!(text.starts_with("1. ") && text.contains("Tidal Power"), "{text}");
}

#[test]
fn a_related_tool_is_called_with_arguments_from_the_prompt() {
    let mut request = ChatRequest::new("sim/writer", "What is the weather in Paris?");
    request.tools = vec![weather_tool()];
    let calls = calls_of(&request);
    assert_eq!((&*calls[0].name, &*calls[0].arguments), ("get_weather", r#"{"city":"Paris"}"#));
}

#[test]
fn an_unrelated_tool_is_not_called_unless_it_must_be() {
    let mut request = ChatRequest::new("sim/writer", "Tell a joke about bears.");
    request.tools = vec![weather_tool()];
    text_of(&request);
    for choice in [ToolChoice::Required, ToolChoice::Named("get_weather".into())] {
        request.tool_choice = choice;
        assert_eq!(calls_of(&request).len(), 1);
    }
}

#[test]
fn both_cities_get_a_call_each() {
    let mut request = ChatRequest::new("sim/writer", "Compare the weather in both Paris and Oslo.");
    request.tools = vec![weather_tool()];
    let calls = calls_of(&request);
    let arguments: Vec<_> = calls.iter().map(|call| &*call.arguments).collect();
    assert_eq!(arguments, [r#"{"city":"Paris"}"#, r#"{"city":"Oslo"}"#]);
    assert_ne!(calls[0].id, calls[1].id);
    request.parallel_tool_calls = false;
    assert_eq!(calls_of(&request).len(), 1);
}

#[test]
fn a_tools_result_is_reported_in_words() {
    let mut request = ChatRequest::from_messages(
        "sim/writer",
        vec![
            message(Role::User, "What is the weather in Paris?"),
            message(Role::Assistant, ""),
            message(Role::Tool, r#"{"celsius":18,"sky":"clear"}"#),
        ],
    );
    request.tools = vec![weather_tool()];
    assert_eq!(text_of(&request), "Here is what I found: celsius 18, sky clear.");
}

#[test]
fn stop_sequences_and_limits_end_the_text() {
    let mut request = ChatRequest::new("echo", "one two three four");
    request.stop = vec!["four".into(), "three".into()];
    let answer = answer(&request).answers.remove(0);
    assert_eq!(answer.finish, Finish::Sequence("three".into()));
    assert_eq!(
        answer.content,
        Content::Text(format!("{:08x} one two ", crc32fast::hash(b"one two three four")))
    );

    request.stop.clear();
    request.max_tokens = Some(3);
    let answer = super::answer(&request).answers.remove(0);
    assert_eq!((answer.finish, answer.tokens), (Finish::Length, 3));
}

#[test]
fn candidates_and_seeds_differ_but_repeat() {
    let mut request = ChatRequest::new("sim/writer", "Write a paragraph about lighthouses.");
    request.candidates = 2;
    let reply = answer(&request);
    assert_ne!(reply.answers[0], reply.answers[1]);
    assert_eq!(reply, answer(&request.clone()));
    request.seed = Some(4);
    assert_ne!(reply, answer(&request));
}

#[test]
fn json_mode_gives_an_object_with_the_keys_asked_for() {
    let mut request =
        ChatRequest::new("sim/writer", "Describe a person as JSON with the keys name, age and city.");
    request.format = Format::JsonObject;
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text_of(&request)).unwrap();
    assert_eq!(object.keys().collect::<Vec<_>>(), ["name", "age", "city"]);
}

proptest! {
    #[test]
    fn any_prompt_gets_an_answer_within_its_limit(prompt in "(?s).{0,200}", limit in 1u64..40) {
        let mut request = ChatRequest::new("sim/writer", &*prompt);
        request.max_tokens = Some(limit);
        let reply = answer(&request);
        prop_assert!(reply.output_tokens <= limit);
        prop_assert_eq!(reply, answer(&request));
    }
}

#[test]
fn the_task_of_a_very_long_prompt_is_found_at_either_end() {
    let long = "é ".repeat(400_000);
    for prompt in [
        format!("List 3 titles about tidal power.\n\n{long}"),
        format!("{long}\n\nList 3 titles about tidal power."),
    ] {
        assert_eq!(text(&prompt).lines().count(), 3);
    }
    let request = ChatRequest::new("sim/writer", &*long);
    assert!(answer(&request).input_tokens > 100_000, "the whole text counts");
}
