use serde_json::json;

use super::*;
use crate::chains::{Conversation, ConversationInput};
use crate::prompts::chat;
use crate::stores::MemorySessions;
use crate::testing::{Answer, Asked, Fake};
use crate::tools::{Tools, TypedTool};
use crate::{Model, text, vars};

fn in_session(id: &str) -> Context {
    Context::new().with_session(id)
}

fn buffer(sessions: &Sessions) -> SessionHistory {
    SessionHistory::new(sessions.clone(), ConversationMemory::buffer())
}

async fn saved(sessions: &Sessions, id: &str) -> Vec<String> {
    let messages = sessions.load(id).await.unwrap().messages;
    messages.iter().map(|message| format!("{:?}: {}", message.role, message.text())).collect()
}

#[derive(serde::Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

impl TypedTool for Add {
    const NAME: &'static str = "add";
    const DESCRIPTION: &'static str = "Adds two numbers.";

    fn parameters() -> Value {
        let number = json!({ "type": "integer" });
        json!({ "type": "object", "properties": { "a": number, "b": number }, "required": ["a", "b"] })
    }

    async fn run_tool(self, cx: &Context) -> Result<String> {
        // A call within a tool is not part of the conversation.
        Fake::echo().model().run("inner".into(), cx).await?;
        Ok((self.a + self.b).to_string())
    }
}

/// A model that adds once, and then answers.
fn adds(asked: &Asked) -> Model {
    Fake::script([
        Answer::calls([("add", json!({ "a": 2, "b": 3 }))]),
        Answer::text("It is 5."),
        Answer::text("You asked for 2 + 3."),
    ])
    .record_in(asked)
    .model()
}

#[tokio::test]
async fn a_tool_loop_with_memory_keeps_calls_and_results_together() {
    let sessions = MemorySessions::sessions();
    let asked = Asked::default();
    let agent = adds(&asked).with_tools(Tools::new().with::<Add>()).run_tools(5);
    let chain = buffer(&sessions).over(agent | text());
    assert_eq!(chain.invoke_in("What is 2 + 3?", &in_session("ada")).await.unwrap(), "It is 5.");
    let messages = sessions.load("ada").await.unwrap().messages;
    assert_eq!(
        messages.iter().map(|m| m.role).collect::<Vec<_>>(),
        [Role::User, Role::Assistant, Role::Tool, Role::Assistant]
    );
    assert_eq!(messages[1].tool_calls().next().unwrap().name, "add");
    let Part::ToolResult(result) = &messages[2].parts[0] else { panic!("no result") };
    assert_eq!(result.text(), "5");
    chain.invoke_in("What did I ask?", &in_session("ada")).await.unwrap();
    assert_eq!(asked.last().unwrap().messages[..4], messages);
    assert_eq!(sessions.load("ada").await.unwrap().messages.len(), 6);
    assert!(sessions.load("bob").await.unwrap().messages.is_empty());
}

#[tokio::test]
async fn a_conversation_over_a_tool_loop_has_a_memory() {
    let sessions = MemorySessions::sessions();
    let agent = adds(&Asked::default()).with_tools(Tools::new().with::<Add>()).run_tools(5);
    let talk = Conversation::new(agent, sessions.clone(), ConversationMemory::window(3)).chain();
    assert_eq!(talk.invoke(ConversationInput::new("ada", "2 + 3?")).await.unwrap(), "It is 5.");
    assert_eq!(sessions.load("ada").await.unwrap().messages.len(), 4);
}

#[tokio::test]
async fn any_chain_has_a_history() {
    // From variables, with the session of each row.
    let sessions = MemorySessions::sessions();
    let asked = Asked::default();
    let model = Fake::echo().record_in(&asked).model();
    let answer = chat().system("Be kind.").history("past").user("{{ question }}!") | &model | text();
    let history = buffer(&sessions).variable("past").question("question").session_from("user");
    let answer = history.over(answer);
    let row = |user: &str, question: &str| vars! { user: user, question: question };
    answer.batch([row("ada", "a"), row("bob", "b")]).collect().await;
    answer.invoke(row("ada", "c")).await.unwrap();
    assert_eq!(saved(&sessions, "ada").await, ["User: a", "Assistant: a!", "User: c", "Assistant: c!"]);
    assert_eq!(saved(&sessions, "bob").await, ["User: b", "Assistant: b!"]);
    let texts: Vec<_> = asked.last().unwrap().messages.iter().map(Message::text).collect();
    assert_eq!(texts, ["Be kind.", "a", "a!", "c!"]);

    // To a value: the answer is the model's message.
    let sessions = MemorySessions::sessions();
    let number = Fake::script(["4", "no", "5"]).model() | crate::json_as::<u8>();
    let number = buffer(&sessions).over(number);
    for n in [Some(4), None, Some(5)] {
        assert_eq!(number.invoke_in("?", &in_session("s")).await.ok(), n);
    }
    assert_eq!(saved(&sessions, "s").await, ["User: ?", "Assistant: 4", "User: ?", "Assistant: 5"]);

    // A text that is not the model's is what the user has seen.
    let sessions = MemorySessions::sessions();
    let loud = (Fake::echo() | text()).map(|text| text.to_uppercase());
    buffer(&sessions).over(loud).invoke_in("hi", &in_session("s")).await.unwrap();
    assert_eq!(saved(&sessions, "s").await, ["User: hi", "Assistant: HI"]);
}

#[tokio::test]
async fn earlier_messages_follow_the_system_messages_and_streams_are_saved() {
    let sessions = MemorySessions::sessions();
    let asked = Asked::default();
    let chain = buffer(&sessions).over(Fake::echo().record_in(&asked).model() | text());
    let prompt = |text: &str| Prompt::from(text).with_system("Be kind.");
    let mut run = chain.stream_in(prompt("one"), &in_session("s"));
    let mut seen = String::new();
    while let Some(delta) = run.next().await {
        seen.push_str(&delta.unwrap().to_string());
    }
    assert_eq!(seen, "one");
    run.output().await.unwrap();
    chain.invoke_in(prompt("two"), &in_session("s")).await.unwrap();
    let texts: Vec<_> = asked.last().unwrap().messages.iter().map(Message::text).collect();
    assert_eq!(texts, ["Be kind.", "one", "one", "two"]);
    assert_eq!(saved(&sessions, "s").await.len(), 4);
}

#[tokio::test]
async fn failed_runs_and_empty_answers_save_nothing() {
    let sessions = MemorySessions::sessions();
    let error = || Error::new(ErrorKind::Server, "down");
    let script = [Answer::text(" "), Answer::thinking("Hm."), Answer::error(error())];
    let chain = buffer(&sessions).over(Fake::script(script).model());
    for _ in 0..3 {
        let _ = chain.invoke_in("?", &in_session("s")).await;
    }
    assert!(saved(&sessions, "s").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_turns_at_once_lose_nothing() {
    let sessions = MemorySessions::sessions();
    let model = Fake::echo().latency(std::time::Duration::from_secs(1)).model();
    let chain = buffer(&sessions).over(model | text());
    let cx = in_session("s");
    tokio::try_join!(chain.invoke_in("a", &cx), chain.invoke_in("b", &cx)).unwrap();
    let mut saved = saved(&sessions, "s").await;
    saved.sort();
    assert_eq!(saved, ["Assistant: a", "Assistant: b", "User: a", "User: b"]);
}

#[tokio::test]
async fn a_chain_with_its_own_history_saves_its_messages_there_only() {
    let (inner, outer) = (MemorySessions::sessions(), MemorySessions::sessions());
    let writer = Fake::script([Answer::text("{\"n\": 1}")]).model();
    let nested = buffer(&inner).over(writer) | crate::json_as::<Value>();
    buffer(&outer).over(nested).invoke_in("?", &in_session("s")).await.unwrap();
    assert_eq!(saved(&inner, "s").await.len(), 2);
    assert!(saved(&outer, "s").await.is_empty());
}

#[tokio::test]
async fn a_missing_session_or_question_is_an_error_before_any_call() {
    let asked = Asked::default();
    let answer = chat().history("history").user("{{ q }}") | Fake::echo().record_in(&asked).model() | text();
    let history = buffer(&MemorySessions::sessions());
    let answer = history.over(answer);
    let error = answer.invoke(vars! { q: "x", input: "x" }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("Context::with_session"), "{error}");
    let error = answer.invoke_in(vars! { q: "x" }, &in_session("s")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.message().contains("`input`"), "{error}");
    let twice = vars! { q: "x", input: "x", history: [["user", "x"]] };
    let error = answer.invoke_in(twice, &in_session("s")).await.unwrap_err();
    assert!(error.message().contains("both by the caller"), "{error}");
    assert!(asked.prompts().is_empty());
}
